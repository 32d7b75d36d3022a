"""kf_report: write one HTML page about a training or predictions; it opens offline in any browser."""

import argparse
from pathlib import Path

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import command_parser, named_dataset


def main() -> None:
    parser = command_parser("kf_report", __doc__)
    parser.add_argument("folder", type=Path, help="folder of a trained fold, or of predictions")
    parser.add_argument(
        "-i",
        "--images",
        type=Path,
        default=None,
        help="folder of the predicted scans CASE_0000, to be shown below the labels",
    )
    parser.add_argument(
        "-d",
        "--dataset",
        default=None,
        help="dataset whose dataset.json names the labels (default: the names in the plan or the files)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=None, metavar="FILE", help="default: FOLDER/report.html"
    )
    arguments = parser.parse_args()
    run(lambda: _report(arguments), resume_with("an earlier report, unchanged"))


def _report(arguments: argparse.Namespace) -> None:
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import refuse_in_raw
    from kneeformer.workflows.report import write_report

    output = arguments.output or arguments.folder / "report.html"
    refuse_in_raw(output)
    if arguments.images is not None and not arguments.images.is_dir():
        raise KneeformerError(f"{arguments.images}: no such folder of images")
    named = arguments.dataset
    scheme = None if named is None else named_dataset(named).description.scheme
    write_report(arguments.folder, arguments.images, scheme, output, Bars())
    print(f"report: {output}")
