"""NRRD: a text header, and voxels behind it or in a file beside it."""

import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from kneeformer.data.formats.base import (
    FileFault,
    Format,
    Image,
    damaged,
    finite,
    header_fault,
    named_beside,
    positive,
    require_printable,
    require_scalars,
    require_volume,
    voxel_file,
    voxel_name,
)
from kneeformer.data.formats.grid import grid, grid_of_steps, millimetres
from kneeformer.data.formats.payload import bunzip2, decimal_numbers, exactly, gunzip, gzip
from kneeformer.geometry.grid import Grid

# The fields of the format; a name that is none of them is a damaged or misspelt one.
FIELDS = {
    name.replace(" ", ""): name
    for name in (
        *(
            "dimension",
            "type",
            "sizes",
            "encoding",
            "endian",
            "block size",
            "data file",
            "line skip",
            "byte skip",
        ),
        *("space", "space dimension", "space units", "space origin", "space directions", "measurement frame"),
        *("spacings", "thicknesses", "axis mins", "axis maxs", "kinds", "labels", "units", "centers"),
        *("centerings", "content", "sample units", "min", "max", "old min", "old max", "number"),
    )
}

# What NRRD calls the axes of patient space, as signs that turn them into LPS. A space without
# anatomy (scanner-xyz, 3D-right-handed, none) is taken as it is, as ITK takes it.
SPACES = {
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
    **dict.fromkeys(
        ("left-posterior-superior", "lps", "scanner-xyz", "3d-right-handed", "3d-left-handed"),
        (1.0, 1.0, 1.0),
    ),
}

TYPES = {
    "i1": ("int8", "int8_t", "signed char"),
    "u1": ("uint8", "uint8_t", "uchar", "unsigned char"),
    "i2": ("int16", "int16_t", "short", "short int", "signed short", "signed short int"),
    "u2": ("uint16", "uint16_t", "ushort", "unsigned short", "unsigned short int"),
    "i4": ("int32", "int32_t", "int", "signed int"),
    "u4": ("uint32", "uint32_t", "uint", "unsigned int"),
    "i8": (
        "int64",
        "int64_t",
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
    ),
    "u8": ("uint64", "uint64_t", "ulonglong", "unsigned long long", "unsigned long long int"),
    "f4": ("float",),
    "f8": ("double",),
}
CODES = {name: code for code, names in TYPES.items() for name in names}
TEXT = {"ascii", "text", "txt"}
VOXELS = ".raw.gz"  # of a .nhdr

Header = dict[str, Any]

_log = logging.getLogger(__name__)


def read(path: Path) -> Image:
    """As `Format.read`."""
    layers, grid = _read(path, several=False)
    return Image(layers[0], grid)


def read_layers(path: Path) -> tuple[np.ndarray, Grid]:
    """As `read`, of a file that may have several values per voxel, and single slices: (layers, z, y, x).

    Raises:
        FileFault: as `read`.
    """
    return _read(path, several=True)


def _read(path: Path, several: bool) -> tuple[np.ndarray, Grid]:
    head, blank, behind = _split(path.read_bytes())
    header = _parse(head)
    sizes = tuple(int(n) for n in header["sizes"])
    if len(sizes) != header["dimension"] or min(sizes, default=0) < 1:
        raise header_fault("sizes", " ".join(map(str, sizes)), f"dimension is {header['dimension']}")
    spatial = _spatial_axes(header, len(sizes))
    size = tuple(sizes[axis] for axis in spatial)
    others = [axis for axis in range(len(sizes)) if axis not in spatial]
    if not several:
        require_scalars(math.prod(sizes[axis] for axis in others))
    if not several or len(size) != 3:
        require_volume(size)
    grid = _grid(path, header, size, spatial)
    dtype = _dtype(header)
    if "data file" in header:
        name = header["data file"].encode("latin-1").decode("utf-8", "surrogateescape")
        behind = voxel_file(path, "data file:", name).read_bytes()
    elif not blank:
        raise damaged("no voxels behind its header")
    stored = np.frombuffer(_voxels(header, behind, dtype, math.prod(sizes)), dtype).reshape(sizes[::-1])
    axes = [len(sizes) - 1 - axis for axis in (*others, *spatial[::-1])]
    layers = stored.transpose(axes).reshape(-1, *size[::-1])
    return layers.astype(dtype.newbyteorder("=")), grid


def encode(name: str, image: Image, pairs: Sequence[str] = ()) -> list[tuple[str, bytes]]:
    """As `Format.encode`: one file, compressed; of a .nhdr the voxels lie in a file beside it.

    Args:
        pairs: further lines of the header, "key:=value".
    """
    array = image.array
    lines = [
        "NRRD0004",
        f"type: {TYPES[array.dtype.str[1:]][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape[::-1]))}",
        f"space directions: {' '.join(map(_vector, image.grid.steps.T.tolist()))}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(list(image.grid.origin))}",
        *([f"content: {image.description}"] if image.description else []),
        *pairs,
    ]
    packed = gzip(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), array.dtype)
    if name.lower().endswith(".nhdr"):
        voxels = voxel_name(name, VOXELS)
        return [(voxels, packed), (name, os.fsencode("\n".join([*lines, f"data file: {voxels}", ""])))]
    return [(name, "\n".join(lines).encode() + b"\n\n" + packed)]


def _split(content: bytes) -> tuple[list[str], bool, bytes]:
    """Lines of the header, whether an empty line ends it, and what is behind that."""
    if not content.startswith(b"NRRD"):
        raise damaged("not an NRRD file: it does not begin with NRRD")
    end = re.search(rb"\r?\n\r?\n", content)
    head, behind = (content[: end.start()], content[end.end() :]) if end else (content, b"")
    return [line.removesuffix("\r") for line in head.decode("latin-1").split("\n")], end is not None, behind


def _parse(lines: list[str]) -> Header:
    """The fields, by the names of FIELDS; comments and key/value pairs are left out."""
    fields = [lines[0]]
    for line in lines[1:]:
        if line.startswith("#") or re.match(r"[^:]*:=", line) or not line:
            continue
        require_printable(line)
        name, colon, value = line.partition(":")
        field = FIELDS.get(name.strip().lower().replace(" ", ""))
        if not colon or field is None:
            raise damaged(f"damaged header: {line[:40]!r} is not a field of NRRD")
        fields.append(f"{field}: {_without_gaps(value)}")
    try:
        header: Header = dict(nrrd.read_header(fields))
    except (nrrd.NRRDError, ValueError, IndexError, KeyError, OverflowError) as fault:
        raise damaged(f"damaged header: {str(fault).splitlines()[0][:100]}") from fault
    if lacking := [f for f in ("dimension", "type", "sizes", "encoding") if f not in header]:
        raise damaged(f"its header lacks {', '.join(lacking)}")
    return header


def _without_gaps(value: str) -> str:
    """ "( 1, 0, 0 )" as "(1,0,0)": spaces separate vectors."""
    return re.sub(r"(?<=[(])\s+|\s+(?=[)])|\s*(,)\s*", r"\1", value.strip())


def _spatial_axes(header: Header, dimension: int) -> list[int]:
    """Axes of the file (fastest first) that lie in space: those whose direction is not "none"."""
    directions = header.get("space directions")
    if directions is not None:
        if len(directions) != dimension:
            raise header_fault("space directions", directions.tolist(), f"dimension is {dimension}")
        return [axis for axis, step in enumerate(directions) if not np.isnan(step).all()]
    kinds = header.get("kinds", ["domain"] * dimension)
    in_space = {"domain", "space", "none", "???"}
    return [axis for axis in range(dimension) if axis >= len(kinds) or kinds[axis].lower() in in_space]


def _grid(path: Path, header: Header, size: tuple[int, ...], spatial: list[int]) -> Grid:
    scale = _unit(path, header)
    space = str(header.get("space", "lps")).lower()
    if space not in SPACES:
        raise header_fault("space", header["space"], f"the spaces known are {', '.join(SPACES)}")
    signs = np.array(SPACES[space])
    origin = signs * finite("space origin", header.get("space origin", np.zeros(3)), 3) * scale
    _warn_of_what_lacks(path, header)
    if (directions := header.get("space directions")) is not None:
        steps = np.array([finite("space directions", directions[axis], 3) for axis in spatial]).T
        return grid_of_steps(size, signs[:, None] * steps * scale, origin, "space directions")
    if np.nan_to_num(header.get("axis mins", np.zeros(1))).any():
        raise FileFault(
            "its place is given as 'axis mins'; export it with 'space directions' and 'space origin'"
        )
    spacings = header.get("spacings", np.ones(max(spatial) + 1))
    if len(spacings) <= max(spatial):
        raise header_fault("spacings", spacings.tolist(), "there must be one for each axis")
    spacing = positive("spacings", np.asarray(spacings)[spatial], 3)
    return grid(size, spacing * scale, np.diag(signs), origin, "space")


def _warn_of_what_lacks(path: Path, header: Header) -> None:
    """Log which parts of a scan's place a header leaves open, and what is taken for them."""
    wanted = ["space", "space directions", "space origin"]
    wanted += [] if "space directions" in header else ["spacings"]
    if lacking := [field for field in wanted if field not in header]:
        _log.warning(
            "%s: its header has no %s; taken for what is missing: spacing 1 mm, the patient's axes, origin 0",
            path,
            ", ".join(lacking),
        )


def _unit(path: Path, header: Header) -> float:
    units = {unit for unit in header.get("space units", []) if unit}
    if len(units) > 1:
        raise header_fault("space units", " ".join(sorted(units)), "all axes must have one unit")
    return millimetres(path, "space units", units.pop()) if units else 1.0


def _dtype(header: Header) -> np.dtype:
    code = CODES.get(header["type"].lower())
    if code is None:
        raise header_fault("type", header["type"], "voxels must be plain numbers")
    if code[1] == "1" or header["encoding"].lower() in TEXT:
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(str(header.get("endian")).lower())
    if order is None:
        raise header_fault("endian", header.get("endian"), "it must be little or big")
    return np.dtype(order + code)


def _voxels(header: Header, stored: bytes, dtype: np.dtype, count: int) -> bytes:
    """The voxels' bytes, unpacked and verified."""
    encoding, size = header["encoding"].lower(), count * dtype.itemsize
    lines, skip = header.get("line skip", 0), header.get("byte skip", 0)
    if lines < 0 or skip < -1:
        raise header_fault("line skip, byte skip", f"{lines}, {skip}", "they cannot be negative")
    if lines > stored.count(b"\n"):
        raise damaged(f"cut short: fewer lines than its line skip of {lines}")
    for _ in range(lines):
        stored = stored.partition(b"\n")[2]
    if encoding == "raw":
        return exactly(stored[max(len(stored) - size, 0) :] if skip == -1 else stored[skip:], size)
    if encoding in TEXT:
        return decimal_numbers(stored[max(skip, 0) :], dtype, count)
    if encoding == "hex":
        return exactly(_from_hex(stored[max(skip, 0) :]), size)
    unpack = {"gzip": gunzip, "gz": gunzip, "bzip2": bunzip2, "bz2": bunzip2}.get(encoding)
    if unpack is None:
        raise header_fault("encoding", header["encoding"], "those known are raw, gzip, bzip2, ascii, hex")
    return unpack(stored, size + max(skip, 0))[max(skip, 0) :]


def _from_hex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError as fault:
        raise damaged(f"its voxels are not all hexadecimal: {fault}") from fault


def _vector(numbers: list[float]) -> str:
    return f"({','.join(map(repr, numbers))})"


def beside(path: Path) -> Path | None:
    """As `Format.beside`, of a .nhdr."""
    return named_beside(path, b"data ?file:") if path.name.lower().endswith(".nhdr") else None


NRRD = Format((".seg.nrrd", ".nrrd", ".nhdr"), read, encode, beside=beside, voxels={".nhdr": VOXELS})
