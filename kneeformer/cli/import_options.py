"""Options and output shared by the commands that import segmented volumes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kneeformer.workflows.import_cases import Imported


def add_import(parser: argparse.ArgumentParser, source: str) -> None:
    """Add the options of a new dataset.

    Args:
        source: help text of the folder to import.
    """
    parser.add_argument("folder", type=Path, help=source)
    parser.add_argument("-d", "--dataset", type=int, required=True, metavar="N", help="number of the dataset")
    parser.add_argument("--name", required=True, help="name of the dataset: Knee for DatasetNNN_Knee")
    parser.add_argument(
        "--structures", nargs="+", default=None, metavar="NAME", help="segments to import (default: all)"
    )


def dataset_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the dataset to write.

    Raises:
        KneeformerError: there is no folder to import, or the dataset is there already.
    """
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import Folders
    from kneeformer.workflows.new_dataset import new_dataset_folder

    if not arguments.folder.is_dir():
        raise KneeformerError(f"{arguments.folder}: no such folder")
    return new_dataset_folder(Folders.from_environment("raw"), arguments.dataset, arguments.name)


def print_imported(folder: Path, done: "Imported") -> None:
    """Print what an import has written, and what it left out or changed."""
    print(f"dataset: {folder}")
    print(f"  {done.labelled} cases with labels, {done.unlabelled} without (imagesUn)")
    for structure in done.structures:
        print(f"  {structure.value} {structure.name}: in {structure.cases} segmentations")
    if done.notes:
        print(f"{len(done.notes)} things did not fit:")
        print("\n".join(f"  {line}" for line in done.notes))
