"""kf_completion_table: compare all bone completion configurations on the same hidden regions."""

import argparse
from contextlib import closing

from kneeformer.cli.console import Bars, TrainingBar, resume_with, run
from kneeformer.cli.options import add_device, add_plans, command_parser


def main() -> None:
    parser = command_parser("kf_completion_table", __doc__)
    parser.add_argument("dataset", help="dataset number or folder name")
    parser.add_argument(
        "-c",
        "--configurations",
        nargs="+",
        default=None,
        metavar="C",
        help="default: all bone completion configurations of the plan",
    )
    parser.add_argument(
        "-f",
        "--folds",
        nargs="+",
        type=int,
        default=None,
        metavar="K",
        help="default: all",
    )
    add_plans(parser)
    add_device(parser)
    arguments = parser.parse_args()
    run(
        lambda: _compare(arguments),
        resume_with("finished trainings, and the last checkpoint of a stopped one"),
    )


def _compare(arguments: argparse.Namespace) -> None:
    from kneeformer.paths import Folders
    from kneeformer.studies.completion_table import Completions, compare_completions

    folders = Folders.from_environment()
    wanted = dict(vars(arguments)) | {"dataset": folders.resolve(arguments.dataset)}
    for key in ("configurations", "folds"):
        wanted[key] = None if wanted[key] is None else tuple(dict.fromkeys(wanted[key]))
    with closing(TrainingBar()) as bar:
        report, folder = compare_completions(folders, Completions(**wanted), bar, Bars())
    print(report)
    print((folder / "whole_bones.md").read_text(encoding="utf-8"))
    print(f"table and whole_bones, each .csv and .md: {folder}")
