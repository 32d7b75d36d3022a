"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz): a binary header, RAS millimetres, and voxels."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.formats.base import (
    FileFault,
    Format,
    Image,
    damaged,
    finite,
    header_fault,
    positive,
    require_volume,
    volume,
)
from kneeformer.data.formats.grid import grid, grid_of_steps, millimetres
from kneeformer.data.formats.payload import exactly, gunzip, gunzip_start, gzip
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.grid import Grid

# The header's fields that matter here: type and byte offset in NIfTI-1, then in NIfTI-2.
FIELDS: dict[str, tuple[str, int, str, int]] = {
    "sizeof_hdr": ("i4", 0, "i4", 0),
    "magic": ("S4", 344, "S8", 4),
    "dim": ("8i2", 40, "8i8", 16),
    "datatype": ("i2", 70, "i2", 12),
    "bitpix": ("i2", 72, "i2", 14),
    "pixdim": ("8f4", 76, "8f8", 104),
    "vox_offset": ("f4", 108, "i8", 168),
    "scl_slope": ("f4", 112, "f8", 176),
    "scl_inter": ("f4", 116, "f8", 184),
    "xyzt_units": ("u1", 123, "i4", 500),
    "descrip": ("S80", 148, "S80", 240),
    "qform_code": ("i2", 252, "i4", 344),
    "sform_code": ("i2", 254, "i4", 348),
    "quatern": ("3f4", 256, "3f8", 352),
    "qoffset": ("3f4", 268, "3f8", 376),
    "srow": ("(3,4)f4", 280, "(3,4)f8", 400),
}
SIZES = {1: 348, 2: 540}
MAGIC = {1: b"n+1", 2: b"n+2\0\r\n\x1a\n"}
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
UNITS = {0: "mm", 1: "m", 2: "mm", 3: "um"}
TO_LPS = np.array([-1.0, -1.0, 1.0])

Header = dict[str, Any]


def read(path: Path) -> Image:
    """As `Format.read`. The position is that of the sform if its code is above 0, else of the qform."""
    (image,) = _read(path, several=False)
    return image


def read_channels(path: Path) -> list[Image]:
    """As `read`, for a file whose fourth dimension, if there is one, is that of channels.

    Raises:
        FileFault: as `read`.
    """
    return _read(path, several=True)


def _read(path: Path, several: bool) -> list[Image]:
    stored = path.read_bytes()
    packed = stored[:2] == b"\x1f\x8b"
    header, order = _parse(gunzip_start(stored, SIZES[2]) if packed else stored[: SIZES[2]])
    channels = 1
    if several and header["dim"][0] == 4:
        channels = max(int(header["dim"][4]), 1)
        header["dim"] = np.array([3, *header["dim"][1:4], 1, 1, 1, 1])
    size, dtype = _size(header), _dtype(header, order)
    start, count = _start(header), math.prod(size)
    grid = _grid(path, header, size)
    whole = start + channels * count * dtype.itemsize
    content = gunzip(stored, whole) if packed else exactly(stored, whole)
    starts = (start + channel * count * dtype.itemsize for channel in range(channels))
    return [Image(_scaled(volume(content, dtype, size, at), header), grid) for at in starts]


def encode(name: str, image: Image) -> list[tuple[str, bytes]]:
    """As `Format.encode`: NIfTI-1 with its position as sform and as qform."""
    array, grid = image.array, image.grid
    ras = TO_LPS[:, None] * grid.cosines
    flip = 1.0 if np.linalg.det(ras) > 0 else -1.0
    origin = TO_LPS * grid.origin
    header = np.zeros((), _layout(1, "<"))
    header["sizeof_hdr"], header["magic"], header["vox_offset"] = SIZES[1], MAGIC[1], SIZES[1] + 4
    header["dim"] = [3, *array.shape[::-1], 1, 1, 1, 1]
    header["datatype"] = next(number for number, code in TYPES.items() if code == array.dtype.str[1:])
    header["bitpix"] = array.dtype.itemsize * 8
    header["pixdim"] = [flip, *grid.spacing[::-1], 0, 0, 0, 0]
    header["scl_slope"], header["xyzt_units"] = 1, 2
    header["descrip"] = image.description.encode("ascii")
    header["qform_code"] = header["sform_code"] = 1
    header["quatern"], header["qoffset"] = _quaternion(ras * [1, 1, flip]), origin
    header["srow"] = np.column_stack([TO_LPS[:, None] * grid.steps, origin])
    content = header.tobytes() + bytes(4) + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return [(name, gzip(content, array.dtype) if name.lower().endswith(".gz") else content)]


def _layout(version: int, order: str) -> np.dtype:
    """The header as a record of FIELDS in the byte order "<" or ">"."""
    columns = [(field[:2], field[2:])[version - 1] for field in FIELDS.values()]
    record: Any = {
        "names": list(FIELDS),
        "formats": [kind for kind, _ in columns],
        "offsets": [offset for _, offset in columns],
        "itemsize": SIZES[version],
    }
    layout: np.dtype = np.dtype(record).newbyteorder("<" if order == "<" else ">")
    return layout


def _parse(start: bytes) -> tuple[Header, str]:
    """The header's fields, and the byte order of the file: "<" or ">"."""
    for version, size in SIZES.items():
        for order in "<>":
            if len(start) < size or np.frombuffer(start, f"{order}i4", 1)[0] != size:
                continue
            record = np.frombuffer(start, _layout(version, order), 1)[0]
            header = {name: record[name] for name in FIELDS}
            if header["magic"] == (b"ni1", b"ni2")[version - 1]:
                raise FileFault(
                    "its voxels lie in another file (.img); write header and voxels into one .nii"
                )
            if header["magic"] != MAGIC[version]:
                raise header_fault(
                    "magic", header["magic"], f"NIfTI-{version} in one file has {MAGIC[version]!r}"
                )
            return header, order
    raise damaged("not a NIfTI file: it begins with no NIfTI-1 or NIfTI-2 header")


def _size(header: Header) -> Size:
    dimensions, *extents = (int(n) for n in header["dim"])
    if not 1 <= dimensions <= 7:
        raise header_fault("dim[0]", dimensions, "there are 1 to 7 dimensions")
    size = extents[:dimensions]
    if min(size) < 1:
        raise header_fault("dim[1...]", " ".join(map(str, size)), "sizes must be above zero")
    while len(size) > 3 and size[-1] == 1:
        size.pop()
    require_volume(tuple(size))
    return (size[0], size[1], size[2])


def _dtype(header: Header, order: str) -> np.dtype:
    kind = int(header["datatype"])
    if kind not in TYPES:
        raise FileFault(
            f"its voxels are not plain numbers (NIfTI type {kind}: RGB, complex or unknown); "
            "write one file per channel, with one value per voxel"
        )
    dtype = np.dtype(order + TYPES[kind])
    if int(header["bitpix"]) != dtype.itemsize * 8:
        raise header_fault("bitpix", header["bitpix"], f"datatype {kind} has {dtype.itemsize * 8}")
    return dtype


def _start(header: Header) -> int:
    """Offset of the voxels in bytes: after the header and the four bytes that announce extensions."""
    least, start = int(header["sizeof_hdr"]) + 4, float(header["vox_offset"])
    if not (math.isfinite(start) and start >= least and start == int(start)):
        raise header_fault("vox_offset", f"{start:g}", f"it must be a whole number from {least} on")
    return int(start)


def _grid(path: Path, header: Header, size: tuple[int, ...]) -> Grid:
    spacing = positive("pixdim[1..3]", header["pixdim"][1:4], 3)
    units = int(header["xyzt_units"]) & 7
    if units not in UNITS:
        raise header_fault("xyzt_units", units, "lengths are in m (1), mm (2) or um (3)")
    unit = millimetres(path, "xyzt_units", UNITS[units])
    for code in ("qform_code", "sform_code"):
        if not 0 <= header[code] <= 5:
            raise header_fault(code, header[code], "it must be 0 to 5")
    q = _by_qform(header, size, spacing, unit) if header["qform_code"] > 0 else None
    if header["sform_code"] == 0:
        if q is None:
            _warn(
                path,
                "has neither qform nor sform: its axes are taken as left, posterior and superior, from 0",
            )
            return grid(size, spacing * unit, np.eye(3), np.zeros(3), "pixdim")
        return q
    rows = finite("srow_x, srow_y, srow_z", header["srow"].ravel(), 12).reshape(3, 4) * unit
    s = grid_of_steps(size, TO_LPS[:, None] * rows[:, :3], TO_LPS * rows[:, 3], "srow_x, srow_y, srow_z")
    if q is not None and (differs := q.mismatch(s)):
        _warn(path, f"its qform and sform disagree ({differs}); the sform is used")
    elif q is None and not np.allclose(s.spacing[::-1], spacing * unit, rtol=1e-3):
        shown = " x ".join(f"{v:g}" for v in spacing * unit)
        _warn(path, f"its pixdim ({shown} mm along x, y, z) and sform disagree; the sform is used")
    return s


def _by_qform(header: Header, size: tuple[int, ...], spacing: np.ndarray, unit: float) -> Grid:
    flip = float(header["pixdim"][0])
    if flip not in {-1.0, 0.0, 1.0}:
        raise header_fault("pixdim[0]", f"{flip:g}", "it must be -1 or 1 where there is a qform")
    b, c, d = finite("quatern_b, quatern_c, quatern_d", header["quatern"], 3)
    squares = b * b + c * c + d * d
    if squares > 1 + 1e-5:
        raise header_fault("quatern_b, quatern_c, quatern_d", f"{b:g} {c:g} {d:g}", "a rotation has length 1")
    if 1 - squares < 1e-7:  # half a turn: what float32 leaves for a is rounding (the NIfTI library's rule)
        a, (b, c, d) = 0.0, np.array([b, c, d]) / math.sqrt(squares)
    else:
        a = math.sqrt(1 - squares)
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    turn[:, 2] *= -1.0 if flip < 0 else 1.0
    origin = TO_LPS * finite("qoffset_x, qoffset_y, qoffset_z", header["qoffset"], 3) * unit
    return grid(size, spacing * unit, TO_LPS[:, None] * turn, origin, "quatern_b, quatern_c, quatern_d")


def _quaternion(turn: np.ndarray) -> np.ndarray:
    """b, c, d of a proper rotation; a follows from them and is not negative."""
    symmetric = turn + turn.T - np.trace(turn) * np.eye(3)
    beside = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    # The rotation's quaternion (b, c, d, a) is the eigenvector of the largest eigenvalue of this matrix.
    matrix = np.block([[symmetric, beside[:, None]], [beside[None], np.array([[np.trace(turn)]])]])
    *imaginary, real = np.linalg.eigh(matrix)[1][:, -1]
    return np.array(imaginary) * (-1.0 if real < 0 else 1.0)


def _scaled(array: np.ndarray, header: Header) -> np.ndarray:
    """Voxels times scl_slope plus scl_inter; a slope of 0 means that there is no scaling (the standard)."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or 0 < abs(slope) < 1e-20:
        raise header_fault("scl_slope", f"{slope:g}", "voxels are multiplied by it")
    if slope == 0 or (slope == 1 and inter == 0):
        return array
    if not math.isfinite(inter):
        raise header_fault("scl_inter", f"{inter:g}", "it is added to voxels")
    real = np.float32 if array.dtype.itemsize <= 2 or array.dtype == np.float32 else np.float64
    scaled = np.empty(array.shape, real)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite voxels are found by the dataset's check
        for plane, out in zip(array, scaled, strict=True):  # in double, and no whole volume of doubles
            out[...] = plane * np.float64(slope) + inter
    return scaled


def _warn(path: Path, words: str) -> None:
    logging.getLogger(__name__).warning("%s: %s", path, words)


NIFTI = Format((".nii.gz", ".nii"), read, encode)
