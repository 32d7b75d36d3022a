"""kf_import_dicom: make a dataset from DICOM series, with labels from DICOM SEG."""

import argparse

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.import_options import add_import, dataset_folder, print_imported
from kneeformer.cli.options import command_parser


def main() -> None:
    parser = command_parser("kf_import_dicom", __doc__)
    add_import(parser, "folder of DICOM files, in folders or not")
    parser.add_argument(
        "--channel",
        nargs="+",
        default=[],
        metavar="NAME",
        help="name of the channel (default: MRI or CT); of several channels, their SeriesDescriptions",
    )
    arguments = parser.parse_args()
    run(lambda: _import(arguments), resume_with("nothing of the dataset"))


def _import(arguments: argparse.Namespace) -> None:
    from kneeformer.workflows.import_dicom import import_dicom

    folder = dataset_folder(arguments)
    done = import_dicom(arguments.folder, folder, arguments.channel, arguments.structures, Bars())
    print_imported(folder, done)
    print(f"which case is which series: {folder / 'dicom_series.csv'}")
