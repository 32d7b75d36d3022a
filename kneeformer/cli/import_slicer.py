"""kf_import_slicer: make a dataset from volumes and segmentations of 3D Slicer."""

import argparse

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.import_options import add_import, dataset_folder, print_imported
from kneeformer.cli.options import command_parser


def main() -> None:
    parser = command_parser("kf_import_slicer", __doc__)
    add_import(parser, "folder of volumes and of their segmentations (.seg.nrrd)")
    parser.add_argument("--channel", default="MRI", help="name of the channel, e.g. PD or CT (default: MRI)")
    arguments = parser.parse_args()
    run(lambda: _import(arguments), resume_with("nothing of the dataset"))


def _import(arguments: argparse.Namespace) -> None:
    from kneeformer.workflows.import_slicer import import_slicer

    folder = dataset_folder(arguments)
    done = import_slicer(arguments.folder, folder, arguments.channel, arguments.structures, Bars())
    print_imported(folder, done)
