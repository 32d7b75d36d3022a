"""Prepared cases on disk: compressed arrays that are read crop by crop, and a record of each case.

A case is three files: CASE.b2nd (image), CASE_seg.b2nd (labels, where there are any) and CASE.json.
The record is written last: a case without one was not finished and is made again.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import blosc2
import numpy as np
from pydantic import BaseModel, ConfigDict

from kneeformer.data.files import read_json, write_text

POINTS_PER_STRUCTURE = 500
_BLOCK_BYTES = 256 * 1024  # decompressed at once; fits a core's second-level cache

Points = list[tuple[int, int, int]]


class CaseRecord(BaseModel):
    """What is known of a stored case besides its voxels.

    Attributes:
        key: digest of the inputs and settings it was made from.
        points: up to POINTS_PER_STRUCTURE random (z, y, x) voxels of each structure, to aim crops at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    points: dict[str, Points]


@dataclass(frozen=True)
class StoredCase:
    """A prepared case opened for reading: slicing `image` or `labels` reads only what is asked for."""

    name: str
    record: CaseRecord
    image: blosc2.NDArray
    labels: blosc2.NDArray | None


def save_case(
    folder: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray | None,
    record: CaseRecord,
    crop: tuple[int, ...],
) -> None:
    """Store a case; `crop` (z, y, x) is the shape it will mostly be read in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").unlink(missing_ok=True)
    _save(folder / f"{name}.b2nd", image, crop)
    if labels is None:
        (folder / f"{name}_seg.b2nd").unlink(missing_ok=True)
    else:
        _save(folder / f"{name}_seg.b2nd", labels, crop)
    write_text(folder / f"{name}.json", record.model_dump_json() + "\n")


def open_case(folder: Path, name: str) -> StoredCase:
    """Open a stored case. Raises KneeformerError: it has no record."""
    record = CaseRecord.model_validate(read_json(folder / f"{name}.json"))
    labels = folder / f"{name}_seg.b2nd"
    image = blosc2.open(str(folder / f"{name}.b2nd"), mode="r")
    return StoredCase(name, record, image, blosc2.open(str(labels), mode="r") if labels.exists() else None)


def stored_key(folder: Path, name: str) -> str | None:
    """Key of the stored case, or None where it is missing or unfinished."""
    file = folder / f"{name}.json"
    if not file.is_file() or not (folder / f"{name}.b2nd").is_file():
        return None
    key: str = read_json(file)["key"]
    return key


def structure_points(labels: np.ndarray, structures: dict[str, np.ndarray], seed: int) -> dict[str, Points]:
    """Random voxels of each structure's mask; structures without a voxel have none."""
    rng = np.random.default_rng(seed)
    found: dict[str, Points] = {}
    for name, mask in structures.items():
        flat = np.flatnonzero(mask)
        if len(flat) > POINTS_PER_STRUCTURE:
            flat = rng.choice(flat, POINTS_PER_STRUCTURE, replace=False)
        z, y, x = np.unravel_index(flat, labels.shape)
        found[name] = list(zip(z.tolist(), y.tolist(), x.tolist(), strict=True))
    return found


def _save(path: Path, array: np.ndarray, crop: tuple[int, ...]) -> None:
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.b2nd")
    unfinished.unlink(missing_ok=True)
    chunks = _chunks(array.shape, crop)
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(unfinished),
        mode="w",
        chunks=chunks,
        blocks=_blocks(chunks, array.itemsize),
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1},
    )
    unfinished.replace(path)


def _chunks(shape: tuple[int, ...], crop: tuple[int, ...]) -> tuple[int, ...]:
    """One channel, and half a crop along each axis: a crop anywhere touches few chunks and little else."""
    spatial = tuple(min(n, max(1, c // 2)) for n, c in zip(shape[-3:], crop, strict=True))
    return (1,) * (len(shape) - 3) + spatial


def _blocks(chunks: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    sizes = list(chunks)
    while np.prod(sizes) * itemsize > _BLOCK_BYTES:
        sizes[int(np.argmax(sizes))] = -(-max(sizes) // 2)
    return tuple(sizes)
