"""Shared by all file formats: the image, the contract, and the fault of a file."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import turn

_LONGEST_HEADER = 1 << 16  # bytes, of a header whose voxels are in another file

# Fact of an image whose file does not give the orientation of the patient.
ORIENTATION_UNKNOWN = {"orientation": "unknown"}


@dataclass(frozen=True)
class Image:
    """One volume. `array` has axes (z, y, x); of k-space it is complex, (coils, slices, rows, columns).

    K-space has exact zeros where nothing was measured, and the grid is that of the image to be reconstructed,
    the middle of what the rows (readout) and columns (phase encoding) show. A 3D scan has one
    more axis, (coils, 1, partitions, rows, columns): its one slab is phase-encoded along the partitions too.

    Attributes:
        facts: facts about the file, for CASE.json.
        description: one line of ASCII to write into the header; not read.
    """

    array: np.ndarray
    grid: Grid
    facts: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    def reoriented_to(self, grid: Grid) -> "Image":
        """The same image, its axes in the order and direction of a grid that has the same voxels.

        No voxel changes. If the voxels differ, the image is returned as it is: `Grid.mismatch` tells how.
        """
        orientation = grid.orientation()
        if self.grid.orientation() == orientation:
            return self  # no copy: k-space is large
        turned = self.grid.turned(orientation)
        if turned.mismatch(grid) is not None:
            return self
        array = np.ascontiguousarray(turn(self.array, self.grid.orientation(), orientation))
        return replace(self, array=array, grid=turned)


def nothing_beside(_: Path) -> Path | None:
    """`Format.beside` of a format with header and voxels in one file."""
    return None


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        endings: those of its files, lower case, with the dot; none for a format recognised by its content.
        read: the image of a file that exists and is not empty. Checks every number of the header and every
            checksum of the format before it returns voxels. Raises FileFault.
        encode: the files of an image to be called `name`, as (name, content), in the order in which they must
            appear: the last one makes the image visible and has that `name`.
        holds_kspace: a file holds raw data of all channels; it is read, and never written.
        recognises: recognises a file by its content, whatever its name; None if the ending is enough.
        beside: the file that holds the voxels of a header, whether or not it exists; None if they
            follow the header, or it does not name one. Reads no voxels.
        voxels: for each ending of a separate header, that of the file of voxels which `encode` adds.
    """

    endings: tuple[str, ...]
    read: Callable[[Path], Image]
    encode: Callable[[str, Image], list[tuple[str, bytes]]]
    holds_kspace: bool = False
    recognises: Callable[[Path], bool] | None = None
    beside: Callable[[Path], Path | None] = nothing_beside
    voxels: Mapping[str, str] = field(default_factory=dict)


class FileFault(Exception):
    """Fault of a file and its remedy; `read_image` puts the file's name before it."""


def damaged(reason: object) -> FileFault:
    """Build the fault of a file whose voxels cannot be read."""
    return FileFault(f"cannot be read ({reason}); export it again")


def header_fault(field: str, value: object, rule: str) -> FileFault:
    """The fault of a header field with an impossible value; `rule` says what it must be."""
    return FileFault(f"its header says {field} = {value}, but {rule}; correct the header or export it again")


def finite(field: str, values: Any, count: int) -> np.ndarray:
    """`count` finite numbers as float64. Raises FileFault."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as fault:
        raise header_fault(field, _text(values), "it must be numbers") from fault
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise header_fault(field, _text(values), f"it must be {count} finite numbers")
    return numbers


def positive(field: str, values: Any, count: int) -> np.ndarray:
    """`count` finite numbers above zero as float64. Raises FileFault."""
    numbers = finite(field, values, count)
    if (numbers <= 0).any():
        raise header_fault(field, _text(values), "it must be above zero")
    return numbers


def require_scalars(values: int) -> None:
    """Refuse more than one value per voxel. Raises FileFault."""
    if values != 1:
        raise FileFault(
            f"{values} values per voxel (RGB, complex, vector or layers of overlapping segments); "
            f"write one value per voxel, one file per channel"
        )


def require_volume(size: tuple[int, ...]) -> None:
    """Refuse what is not three-dimensional; `size` in the order of the file."""
    if len(size) == 3 and min(size) >= 2:
        return
    kind = {1: "one-dimensional", 2: "two-dimensional", 3: "two-dimensional"}.get(
        len(size), f"{len(size)}-dimensional"
    )
    raise FileFault(
        f"{kind} (size {' x '.join(map(str, size))}); write one three-dimensional volume per file"
    )


def require_printable(line: str) -> None:
    """Refuse control characters in a header: one flipped bit turns a minus into a line end."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line.removesuffix("\r")):
        raise damaged(f"damaged header: control characters in {line[:40]!r}")


def voxel_name(name: str, ending: str) -> str:
    """The file of voxels beside a header called `name`. Raises FileFault: a header cannot hold that name."""
    stem, _, kind = name.rpartition(".")
    if re.search(r"[\r\n%]|^\s|^LIST", stem):
        raise FileFault(
            f"its name has a line break, %, or a space or LIST first, which a .{kind} cannot hold; rename it"
        )
    return stem + ending


def voxel_file(path: Path, field: str, name: str) -> Path:
    """The file with the voxels of a header, beside it or in a folder below. Raises FileFault."""
    if re.match(r"LIST(\s|$)", name) or "%" in name:
        raise FileFault(f"its voxels lie in several files ({field} {name}); write them into one")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise FileFault(f"its voxels lie outside its folder ({field} {name}); put them beside it")
    file = path.parent / name
    if not name or not file.is_file():
        raise FileFault(f"its voxels are missing: no file {file}; put it there or export it again")
    return file


def named_beside(path: Path, line: bytes) -> Path | None:
    """As `Format.beside`: the file that the last part of a header's line names.

    Args:
        line: a pattern of the line up to the name.
    """
    try:
        with path.open("rb") as handle:
            header = handle.read(_LONGEST_HEADER)
    except OSError:
        return None
    found = re.search(rb"^" + line + rb"[ \t]*([^\r\n]+)", header, re.MULTILINE)
    return None if found is None else path.parent / os.fsdecode(found[1].strip())


def volume(content: bytes, dtype: np.dtype, size: tuple[int, ...], start: int = 0) -> np.ndarray:
    """(z, y, x) in this machine's byte order, from the bytes from `start` on; `size` is (x, y, z)."""
    array = np.frombuffer(content, dtype, math.prod(size), start).reshape(size[::-1])
    return array.astype(dtype.newbyteorder("="))


def _text(values: Any) -> str:
    return str(values) if isinstance(values, str) else " ".join(f"{v}" for v in np.ravel(values).tolist())
