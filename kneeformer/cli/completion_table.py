"""kf_completion_table: compare all bone completion configurations on the same hidden regions."""

import argparse
from contextlib import closing

from kneeformer.cli.console import Bars, TrainingBar, resume_with, run
from kneeformer.cli.options import add_compared, add_dataset, add_device, add_plans, command_parser, distinct


def main() -> None:
    parser = command_parser("kf_completion_table", __doc__)
    add_dataset(parser)
    add_compared(parser, "default: all bone completion configurations of the plan", "default: all")
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
    wanted = dict(vars(arguments), dataset=folders.resolve(arguments.dataset))
    wanted |= {key: distinct(wanted[key]) for key in ("configurations", "folds")}
    with closing(TrainingBar()) as bar:
        report, folder = compare_completions(folders, Completions(**wanted), bar, Bars())
    print(report)
    print((folder / "whole_bones.md").read_text(encoding="utf-8"))
    print(f"table and whole_bones, each .csv and .md: {folder}")
