"""MetaImage: lines of `key = value`, followed by the voxels (.mha), or with a file of voxels (.mhd)."""

import logging
import os
import re
from pathlib import Path

import numpy as np

from kneeformer.data.formats.base import (
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
    volume,
    voxel_file,
    voxel_name,
)
from kneeformer.data.formats.grid import grid, millimetres
from kneeformer.data.formats.payload import decimal_numbers, deflate, exactly, inflate
from kneeformer.geometry.grid import Grid

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
WRITTEN = {code: name for name, code in TYPES.items() if name not in {"MET_LONG", "MET_ULONG"}}
VOXELS = ".zraw"  # file of voxels of a .mhd
TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}

Header = dict[str, str]


def read(path: Path) -> Image:
    """As `Format.read`."""
    header, behind = _parse(path.read_bytes())
    size = tuple(_whole(header, "DimSize"))
    if _whole(header, "NDims") != [len(size)]:
        raise header_fault("NDims", header["NDims"], f"DimSize is {header['DimSize']}")
    if len(size) == 0 or min(size) < 1:
        raise header_fault("DimSize", header["DimSize"], "it must be above zero")
    require_scalars(_whole(header, "ElementNumberOfChannels", "1")[0])
    require_volume(size)
    dtype = _dtype(header)
    grid = _grid(path, header, size)
    content = _voxels(header, _stored(path, header, behind), int(np.prod(size, dtype=object)), dtype)
    return Image(volume(content, dtype, size), grid)


def encode(name: str, image: Image) -> list[tuple[str, bytes]]:
    """As `Format.encode`, compressed: one file, or for .mhd the voxels as .zraw and then the header."""
    array, grid = image.array, image.grid
    packed = deflate(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), array.dtype)
    beside = name.lower().endswith(".mhd")
    data = voxel_name(name, VOXELS) if beside else "LOCAL"
    fields = {
        "ObjectType": "Image",
        **({"Comment": image.description} if image.description else {}),
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(packed)),
        "TransformMatrix": _text(grid.cosines.T.ravel().tolist()),
        "Offset": _text(grid.origin),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _text(grid.spacing[::-1]),
        "DimSize": " ".join(map(str, array.shape[::-1])),
        "ElementType": WRITTEN[array.dtype.str[1:]],
        "ElementDataFile": data,
    }
    header = os.fsencode("".join(f"{key} = {value}\n" for key, value in fields.items()))
    return [(data, packed), (name, header)] if beside else [(name, header + packed)]


def _parse(content: bytes) -> tuple[Header, bytes]:
    """The header by its keys, and the bytes that follow; ElementDataFile is the last key."""
    end = re.search(rb"^ElementDataFile[ \t]*=[^\n]*(\n|\Z)", content, re.MULTILINE)
    if end is None:
        raise damaged("not MetaImage, or cut short: its header has no line ElementDataFile")
    header: Header = {}
    for line in content[: end.end()].decode("utf-8", "surrogateescape").split("\n"):
        if not line.strip():
            continue
        require_printable(line)
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key in header:
            raise damaged(f"damaged header: {line[:40]!r} is not 'key = value', or occurs twice")
        header[key] = value
    if lacking := [key for key in ("NDims", "DimSize", "ElementType") if key not in header]:
        raise damaged(f"its header lacks {', '.join(lacking)}")
    return header, content[end.end() :]


def _grid(path: Path, header: Header, size: tuple[int, ...]) -> Grid:
    spacing_key = _present(header, "ElementSpacing", "ElementSize")
    turn_key = _present(header, "TransformMatrix", "Rotation", "Orientation")
    origin_key = _present(header, "Offset", "Position", "Origin")
    if missing := [key for key in (spacing_key, turn_key, origin_key) if key not in header]:
        logging.getLogger(__name__).warning(
            "%s: its header has no %s; taken for what is missing: spacing 1 mm, the patient's axes, origin 0",
            path,
            ", ".join(missing),
        )
    scale = millimetres(path, "DistanceUnits", header.get("DistanceUnits", "mm").replace("?", "mm"))
    spacing = positive(spacing_key, _numbers(header, spacing_key, "1 1 1"), 3) * scale
    turn = finite(turn_key, _numbers(header, turn_key, "1 0 0 0 1 0 0 0 1"), 9).reshape(3, 3).T
    origin = finite(origin_key, _numbers(header, origin_key, "0 0 0"), 3) * scale
    return grid(size, spacing, turn, origin, turn_key)


def _dtype(header: Header) -> np.dtype:
    code = TYPES.get(header["ElementType"].upper())
    if code is None:
        raise header_fault("ElementType", header["ElementType"], f"those known are {', '.join(TYPES)}")
    for key, plain in (("ElementToIntensityFunctionSlope", 1), ("ElementToIntensityFunctionOffset", 0)):
        if finite(key, _numbers(header, key, str(plain)), 1) != plain:
            raise header_fault(key, header[key], f"only {plain} is read: no other program scales by it")
    high_first = _truth(header, _present(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB"), False)
    return np.dtype((">" if high_first else "<") + code)


def _stored(path: Path, header: Header, behind: bytes) -> bytes:
    """The bytes that hold the voxels, without what precedes them."""
    name = header["ElementDataFile"]
    return behind if name.upper() == "LOCAL" else voxel_file(path, "ElementDataFile =", name).read_bytes()


def _voxels(header: Header, stored: bytes, count: int, dtype: np.dtype) -> bytes:
    """The voxels' bytes, unpacked and verified."""
    size = count * dtype.itemsize
    (skip,) = _whole(header, "HeaderSize", "0")
    if skip < -1:
        raise header_fault("HeaderSize", skip, "it must be -1 or above")
    if _truth(header, "CompressedData", False):
        packed = stored[max(skip, 0) :]
        if "CompressedDataSize" in header:
            packed = exactly(packed, _whole(header, "CompressedDataSize")[0])
        return inflate(packed, size)
    if not _truth(header, "BinaryData", True):
        return decimal_numbers(stored[max(skip, 0) :], dtype, count)
    return exactly(stored[max(len(stored) - size, 0) :] if skip == -1 else stored[skip:], size)


def _present(header: Header, *keys: str) -> str:
    """The first key that the header has, or the first of all."""
    return next((key for key in keys if key in header), keys[0])


def _numbers(header: Header, key: str, default: str) -> list[float] | str:
    text = header.get(key, default)
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return text


def _whole(header: Header, key: str, default: str = "") -> list[int]:
    text = header.get(key, default)
    try:
        return [int(word) for word in text.split()] or [int(text)]
    except ValueError as fault:
        raise header_fault(key, text, "it must be whole numbers") from fault


def _truth(header: Header, key: str, default: bool) -> bool:
    text = header.get(key, str(default))
    if text.lower() not in TRUTH:
        raise header_fault(key, text, "it must be True or False")
    return TRUTH[text.lower()]


def _text(numbers: tuple[float, ...] | list[float]) -> str:
    return " ".join(map(repr, numbers))


def beside(path: Path) -> Path | None:
    """As `Format.beside`, for a .mhd."""
    return named_beside(path, b"ElementDataFile[ \t]*=") if path.name.lower().endswith(".mhd") else None


META_IMAGE = Format((".mha", ".mhd"), read, encode, beside=beside, voxels={".mhd": VOXELS})
