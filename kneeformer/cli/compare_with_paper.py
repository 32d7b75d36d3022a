"""kf_compare_with_paper: show trained configurations beside the published results of the knee paper."""

import argparse

from kneeformer.cli.console import resume_with, run
from kneeformer.cli.options import command_parser

CAUTION = (
    "The published figures come from other scans and labels: do not compare them directly. Ours are means\n"
    "over structures, of whole validation cases."
)


def main() -> None:
    parser = command_parser("kf_compare_with_paper", __doc__)
    parser.add_argument("-d", "--dataset", required=True, help="dataset number or folder name")
    arguments = parser.parse_args()
    run(lambda: _compare(arguments), resume_with("everything: nothing is written"))


def _compare(arguments: argparse.Namespace) -> None:
    from kneeformer.paths import Folders
    from kneeformer.studies.compare_with_paper import compare_with_paper, comparison_table

    folders = Folders.from_environment()
    comparison = compare_with_paper(folders, folders.resolve(arguments.dataset))
    print(comparison_table(comparison.trained))
    print(CAUTION)
    if comparison.missing:
        print("Not trained yet; these commands train them:", *comparison.missing, sep="\n  ")
