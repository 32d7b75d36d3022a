"""The dataset folder that an import writes, whole or not at all."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kneeformer.data.description import read_description
from kneeformer.data.files import unfinished, write_json
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelValues
from kneeformer.paths import Folders, is_plain_name


def new_dataset_folder(folders: Folders, number: int, name: str) -> Path:
    """Return the folder of a new dataset, $kf_raw/DatasetNNN_Name.

    Raises:
        KneeformerError: the number is taken or outside 1 to 999, or the name cannot be that of a folder.
    """
    if not 0 < number < 1000 or not is_plain_name(name):
        raise KneeformerError(f"-d {number} --name {name}: give a number of 1 to 999, and a plain name")
    taken = sorted(folders.raw.glob(f"Dataset{number:03d}_*"))
    if taken:
        raise KneeformerError(f"{taken[0]}: dataset {number} exists already; give another number with -d")
    return folders.raw / f"Dataset{number:03d}_{name}"


@contextmanager
def written_dataset(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `folder` to write in; rename it to `folder` at the end, or remove it."""
    beside = unfinished(folder)
    try:
        beside.mkdir(parents=True)
        yield beside
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_description(
    folder: Path,
    channels: dict[str, str],
    labels: LabelValues,
    cases: int,
    file_ending: str,
    regions_class_order: list[int] | None = None,
    about: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write dataset.json. Raises KneeformerError: as `read_description`.

    Args:
        labels: with or without background; empty where there are no label maps.
        about: `subjects` and `sides` by case.
    """
    named = {"background": 0, **labels}
    content: dict[str, Any] = {
        "channel_names": channels,
        "labels": named if labels else {},
        "numTraining": cases,
        "file_ending": file_ending,
    }
    if regions_class_order is not None:
        content["regions_class_order"] = regions_class_order
    content |= about or {}
    write_json(folder / "dataset.json", content)
    read_description(folder)
