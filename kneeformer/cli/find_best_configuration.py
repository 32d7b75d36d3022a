"""kf_find_best_configuration: compare trained configurations on the same cases, and choose the best."""

import argparse

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import add_compared, add_dataset, command_parser, distinct


def main() -> None:
    parser = command_parser("kf_find_best_configuration", __doc__)
    add_dataset(parser)
    add_compared(
        parser,
        "candidates (default: all of the plan that predict cases)",
        "default: those that most configurations have in common",
    )
    parser.add_argument(
        "--ranking_only",
        action="store_true",
        help="compare existing scores only: no ensembles, no post-processing",
    )
    parser.add_argument(
        "-p",
        "--plans",
        nargs="+",
        default=["kfPlans"],
        metavar="NAME",
        help="names of plans, without .json; configurations of several plans are compared (default: kfPlans)",
    )
    arguments = parser.parse_args()
    run(lambda: _find(arguments), resume_with("everything that is trained and validated"))


def _find(arguments: argparse.Namespace) -> None:
    from kneeformer.paths import Folders
    from kneeformer.studies.best_configuration import Candidates, find_best_configuration

    folders = Folders.from_environment()
    wanted = dict(vars(arguments), dataset=folders.resolve(arguments.dataset))
    wanted |= {key: distinct(wanted[key]) for key in ("configurations", "folds", "plans")}
    report, folder = find_best_configuration(folders, Candidates(**wanted), Bars())
    print(report)
    print(f"best_configuration.json, table.md and prediction_commands.txt: {folder}")
