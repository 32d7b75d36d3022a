"""kf_import_msd: make a dataset from a task of the Medical Segmentation Decathlon."""

import argparse
import re
from pathlib import Path

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import command_parser


def main() -> None:
    parser = command_parser("kf_import_msd", __doc__)
    parser.add_argument("folder", type=Path, help="folder with the Decathlon's dataset.json")
    parser.add_argument("-d", "--dataset", type=int, required=True, metavar="N", help="number of the dataset")
    parser.add_argument(
        "--name", default=None, help="name of the dataset (default: the folder's, without TaskNN_)"
    )
    arguments = parser.parse_args()
    run(lambda: _import(arguments), resume_with("nothing of the dataset"))


def _import(arguments: argparse.Namespace) -> None:
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import Folders
    from kneeformer.workflows.import_msd import import_msd
    from kneeformer.workflows.new_dataset import new_dataset_folder

    if not arguments.folder.is_dir():
        raise KneeformerError(f"{arguments.folder}: no such folder")
    name = arguments.name or re.sub(r"^Task\d+_", "", arguments.folder.resolve().name)
    folder = new_dataset_folder(Folders.from_environment("raw"), arguments.dataset, name)
    training, tests = import_msd(arguments.folder, folder, Bars())
    print(f"dataset: {folder}\n  {training} training cases, {tests} test cases")
