"""Prepared cases on disk: compressed arrays that are read crop by crop, and a record of each case.

A case is three files: CASE.b2nd (image), labels/CASE.b2nd (where there are any) and CASE.json. Endings
are the same for every case, so that two names never mean the same file. The record is written last: a case
without one was not finished and is made again. It holds the checksums of the arrays.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from kneeformer.data.files import write_bytes
from kneeformer.data.stored_array import ArrayRecord, StoredArray, write_array
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing

POINTS_PER_STRUCTURE = 500
_CRC32 = b',"crc32":'  # of all before it: a record with a flipped digit can still be parsed
_PREPARE = "prepare the case again with kf_preprocess"

Points = list[Size]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Kept):
    """Source of a prepared case.

    Attributes:
        settings: digest of the settings of its preparation.
        files: digest of the raw files' names, sizes and times.
    """

    settings: str
    files: str


class CaseRecord(_Kept):
    """Record of a stored case besides its voxels.

    Attributes:
        orientation: directions of the axes (z, y, x) in the patient, such as "SPL".
        points: up to POINTS_PER_STRUCTURE random (z, y, x) voxels of each structure, to aim crops at.
    """

    origin: Origin
    shape: Size
    spacing: Spacing
    orientation: str
    points: dict[str, Points]


class Manifest(_Kept):
    """Contents of CASE.json.

    Attributes:
        labels: None if the case has none.
    """

    record: CaseRecord
    image: ArrayRecord
    labels: ArrayRecord | None


@dataclass(frozen=True)
class StoredCase:
    """A prepared case opened for reading: slicing `image` or `labels` reads only the requested region."""

    name: str
    record: CaseRecord
    image: StoredArray
    labels: StoredArray | None


def image_file(folder: Path, name: str) -> Path:
    """Path of the image of a prepared case."""
    return folder / f"{name}.b2nd"


def labels_file(folder: Path, name: str) -> Path:
    """Path of the label map of a prepared case."""
    return folder / "labels" / f"{name}.b2nd"


def record_file(folder: Path, name: str) -> Path:
    """Path of the record of a prepared case."""
    return folder / f"{name}.json"


def save_case(
    folder: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray | None,
    record: CaseRecord,
    crop: tuple[int, ...],
) -> None:
    """Store a case; `crop` (z, y, x) is the usual shape of the regions that will be read."""
    record_file(folder, name).unlink(missing_ok=True)
    image_record = write_array(image_file(folder, name), image, crop)
    if labels is None:
        labels_file(folder, name).unlink(missing_ok=True)
    labels_record = None if labels is None else write_array(labels_file(folder, name), labels, crop)
    _write_manifest(folder, name, Manifest(record=record, image=image_record, labels=labels_record))


def relabel_case(
    case: StoredCase, folder: Path, labels: np.ndarray, points: dict[str, Points], crop: tuple[int, ...]
) -> None:
    """Store other labels (z, y, x) of a case, and voxels of its structures; the image is not changed.

    `open_case` reads both.
    """
    labels_record = write_array(labels_file(folder, case.name), labels, crop)
    record = case.record.model_copy(update={"points": points})
    _write_manifest(folder, case.name, Manifest(record=record, image=case.image.record, labels=labels_record))


def open_case(folder: Path, name: str, relabelled: Path | None = None) -> StoredCase:
    """Open a stored case, with the labels that `relabel_case` wrote to another folder, if one is given.

    Raises:
        KneeformerError: its files do not agree with its record.
    """
    home = relabelled or folder
    remedy = f"remove {home} and resume with --c: its images are labelled again" if relabelled else _PREPARE
    try:
        manifest = read_manifest(home, name)
    except KneeformerError as fault:
        raise KneeformerError(f"{record_file(home, name)}: {fault}; {remedy}") from fault
    image = StoredArray(image_file(folder, name), manifest.image, _PREPARE)
    kept = manifest.labels
    labels = None if kept is None else StoredArray(labels_file(home, name), kept, remedy)
    return StoredCase(name, manifest.record, image, labels)


def read_manifest(folder: Path, name: str) -> Manifest:
    """Raises KneeformerError: not prepared, or the record is damaged or of another version of kneeformer.

    The message does not name the case.
    """
    try:
        rest, _, crc32 = record_file(folder, name).read_bytes().rpartition(_CRC32)
    except FileNotFoundError as fault:
        raise KneeformerError("not prepared") from fault
    content = rest + b"}"
    if crc32 != _ending(content):
        raise KneeformerError("the record is damaged")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as fault:
        raise KneeformerError("prepared by another version of kneeformer") from fault


def present_manifest(folder: Path, name: str) -> Manifest:
    """As `read_manifest`; also checks that the case's files exist and have the size that was written.

    Raises:
        KneeformerError: also where a file is missing or of another size.
    """
    manifest = read_manifest(folder, name)
    for file, record, what in _arrays(folder, name, manifest):
        if not file.is_file():
            raise KneeformerError(f"the prepared {what} is missing")
        if file.stat().st_size != record.size:
            raise KneeformerError(f"the prepared {what} is damaged")
    return manifest


def verified_manifest(folder: Path, name: str) -> Manifest:
    """As `present_manifest`; also compares the content of the files with its checksums.

    Raises:
        KneeformerError: also where a file is damaged.
    """
    manifest = present_manifest(folder, name)
    for file, record, what in _arrays(folder, name, manifest):
        try:
            StoredArray(file, record, _PREPARE).check()
        except KneeformerError as fault:
            raise KneeformerError(f"the prepared {what} is damaged") from fault
    return manifest


def _write_manifest(folder: Path, name: str, manifest: Manifest) -> None:
    content = manifest.model_dump_json().encode()
    write_bytes(record_file(folder, name), content[:-1] + _CRC32 + _ending(content))


def _ending(content: bytes) -> bytes:
    """The end of a record with this content: what follows `_CRC32`."""
    return b"%d}\n" % zlib.crc32(content)


def _arrays(folder: Path, name: str, manifest: Manifest) -> list[tuple[Path, ArrayRecord, str]]:
    """Files of a case that its record names, and what each of them is."""
    image = image_file(folder, name), manifest.image, "image"
    if manifest.labels is None:
        return [image]
    return [image, (labels_file(folder, name), manifest.labels, "label map")]


def structure_points(labels: np.ndarray, structures: dict[str, np.ndarray], seed: int) -> dict[str, Points]:
    """Draw random voxels, as (z, y, x), of each structure's mask; structures without voxels have none."""
    rng = np.random.default_rng(seed)
    found: dict[str, Points] = {}
    for name, mask in structures.items():
        flat = np.flatnonzero(mask)
        if len(flat) > POINTS_PER_STRUCTURE:
            flat = rng.choice(flat, POINTS_PER_STRUCTURE, replace=False)
        z, y, x = np.unravel_index(flat, labels.shape)
        found[name] = list(zip(z.tolist(), y.tolist(), x.tolist(), strict=True))
    return found
