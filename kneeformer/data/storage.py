"""Prepared cases on disk: compressed arrays that are read crop by crop, and a record of each case.

A case is three files: CASE.b2nd (image), labels/CASE.b2nd (where there are any) and CASE.json. What follows a
name is as long for every case, so that no two names can mean one file. The record is written last: a case
without one was not finished and is made again. It holds a checksum of each file, for blosc2 decompresses
damaged bytes into other voxels without a word.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import blosc2
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from kneeformer.data.files import write_text, written_whole
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing

POINTS_PER_STRUCTURE = 500
_BLOCK_BYTES = 256 * 1024  # decompressed at once; fits a core's second-level cache

Points = list[Size]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Kept):
    """Source of a prepared case.

    Attributes:
        settings: digest of how it is prepared.
        files: digest of the raw files' names, sizes and times.
    """

    settings: str
    files: str


class CaseRecord(_Kept):
    """Record of a stored case besides its voxels.

    Attributes:
        orientation: where the axes (z, y, x) lead in the patient, as "SPL".
        points: up to POINTS_PER_STRUCTURE random (z, y, x) voxels of each structure, to aim crops at.
    """

    origin: Origin
    shape: Size
    spacing: Spacing
    orientation: str
    points: dict[str, Points]


class FileState(_Kept):
    """By which a file is known to be as it was written."""

    size: int
    crc32: int

    @classmethod
    def of(cls, file: Path) -> "FileState":
        """Read a file through: about 2 GB a second where the disk is not slower."""
        size = checksum = 0
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
        return cls(size=size, crc32=checksum)


class Manifest(_Kept):
    """Contents of CASE.json.

    Attributes:
        labels: None where the case has none.
        crc32: of all the rest: a flipped digit leaves a record that can be read.
    """

    record: CaseRecord
    image: FileState
    labels: FileState | None
    crc32: int = 0

    def checksum(self) -> int:
        return zlib.crc32(self.model_dump_json(exclude={"crc32"}).encode())


@dataclass(frozen=True)
class StoredCase:
    """A prepared case opened for reading: slicing `image` or `labels` reads only the requested region."""

    folder: Path
    name: str
    record: CaseRecord
    image: blosc2.NDArray
    labels: blosc2.NDArray | None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Faults of reading voxels in here name the case. Raises KneeformerError: it cannot be read."""
        try:
            yield
        except (RuntimeError, OSError) as fault:  # blosc2 raises both
            raise KneeformerError(_unreadable(image_file(self.folder, self.name), str(fault))) from fault


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
    """Store a case; `crop` (z, y, x) is the shape it will mostly be read in."""
    record_file(folder, name).unlink(missing_ok=True)
    stored = _save(image_file(folder, name), image, crop)
    if labels is None:
        labels_file(folder, name).unlink(missing_ok=True)
    state = None if labels is None else _save(labels_file(folder, name), labels, crop)
    manifest = Manifest(record=record, image=stored, labels=state)
    manifest = manifest.model_copy(update={"crc32": manifest.checksum()})
    write_text(record_file(folder, name), manifest.model_dump_json() + "\n")


def open_case(folder: Path, name: str) -> StoredCase:
    """Open a stored case. Raises KneeformerError: it is not there as its record says."""
    try:
        manifest = read_manifest(folder, name)
        image = blosc2.open(str(image_file(folder, name)), mode="r")
        labels = None if manifest.labels is None else blosc2.open(str(labels_file(folder, name)), mode="r")
    except (KneeformerError, RuntimeError, OSError) as fault:
        raise KneeformerError(_unreadable(image_file(folder, name), str(fault))) from fault
    return StoredCase(folder, name, manifest.record, image, labels)


def read_manifest(folder: Path, name: str) -> Manifest:
    """Raises KneeformerError: the case is not prepared, or its record is damaged. Its text is of any case."""
    try:
        manifest = Manifest.model_validate_json(record_file(folder, name).read_bytes())
    except FileNotFoundError as fault:
        raise KneeformerError("not prepared") from fault
    except ValidationError as fault:
        raise KneeformerError("the record is damaged") from fault
    if manifest.crc32 != manifest.checksum():
        raise KneeformerError("the record is damaged")
    return manifest


def verified_manifest(folder: Path, name: str) -> Manifest:
    """As `read_manifest`, with every byte of the case's files compared with it.

    Raises:
        KneeformerError: also where a file is missing or damaged.
    """
    manifest = read_manifest(folder, name)
    _verify(image_file(folder, name), manifest.image, "image")
    if manifest.labels is not None:
        _verify(labels_file(folder, name), manifest.labels, "label map")
    return manifest


def _verify(file: Path, wanted: FileState, what: str) -> None:
    if not file.is_file():
        raise KneeformerError(f"the prepared {what} is missing")
    if file.stat().st_size != wanted.size or FileState.of(file) != wanted:
        raise KneeformerError(f"the prepared {what} is damaged")


def _unreadable(file: Path, fault: str) -> str:
    return f"{file}: the prepared case cannot be read ({fault}); prepare it again with kf_preprocess"


def structure_points(labels: np.ndarray, structures: dict[str, np.ndarray], seed: int) -> dict[str, Points]:
    """Draw random voxels, as (z, y, x), of each structure's mask; structures without a voxel have none."""
    rng = np.random.default_rng(seed)
    found: dict[str, Points] = {}
    for name, mask in structures.items():
        flat = np.flatnonzero(mask)
        if len(flat) > POINTS_PER_STRUCTURE:
            flat = rng.choice(flat, POINTS_PER_STRUCTURE, replace=False)
        z, y, x = np.unravel_index(flat, labels.shape)
        found[name] = list(zip(z.tolist(), y.tolist(), x.tolist(), strict=True))
    return found


def _save(path: Path, array: np.ndarray, crop: tuple[int, ...]) -> FileState:
    chunks = _chunks(array.shape, crop)
    with written_whole(path) as beside:
        blosc2.asarray(
            np.ascontiguousarray(array),
            urlpath=str(beside),
            mode="w",
            chunks=chunks,
            blocks=_blocks(chunks, array.itemsize),
            cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1},
        )
        return FileState.of(beside)


def _chunks(shape: tuple[int, ...], crop: tuple[int, ...]) -> tuple[int, ...]:
    """One channel, and half a crop along each axis: a crop anywhere touches few chunks and little else."""
    spatial = tuple(min(n, max(1, c // 2)) for n, c in zip(shape[-3:], crop, strict=True))
    return (1,) * (len(shape) - 3) + spatial


def _blocks(chunks: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    sizes = list(chunks)
    while np.prod(sizes) * itemsize > _BLOCK_BYTES:
        sizes[int(np.argmax(sizes))] = -(-max(sizes) // 2)
    return tuple(sizes)
