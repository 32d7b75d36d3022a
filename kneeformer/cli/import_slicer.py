"""kf_import_slicer: make a dataset of the volumes and segmentations in a folder of 3D Slicer."""

import argparse
from pathlib import Path

from kneeformer.cli.console import Bars, command_parser, print_imported, resume_with, run


def main() -> None:
    parser = command_parser("kf_import_slicer", __doc__)
    parser.add_argument("folder", type=Path, help="folder of volumes and of their segmentations (.seg.nrrd)")
    parser.add_argument("-d", "--dataset", type=int, required=True, metavar="N", help="number of the dataset")
    parser.add_argument("--name", required=True, help="its name, as Knee for DatasetNNN_Knee")
    parser.add_argument("--channel", default="MRI", help="name of the channel, as PD or CT (default: MRI)")
    parser.add_argument(
        "--structures", nargs="+", default=None, metavar="NAME", help="segments to import (default: all)"
    )
    arguments = parser.parse_args()
    run(lambda: _import(arguments), resume_with("nothing of the dataset"))


def _import(arguments: argparse.Namespace) -> None:
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import Folders
    from kneeformer.workflows.import_slicer import import_slicer
    from kneeformer.workflows.new_dataset import new_dataset_folder

    if not arguments.folder.is_dir():
        raise KneeformerError(f"{arguments.folder}: no such folder")
    folder = new_dataset_folder(Folders.from_environment(), arguments.dataset, arguments.name)
    done = import_slicer(arguments.folder, folder, arguments.channel, arguments.structures, Bars())
    print_imported(folder, done)
