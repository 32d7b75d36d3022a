"""Files with headers drawn at random, and what independent readers find in them."""

import bz2
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk

Rng = np.random.Generator

RAS, LAS, LPS = np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1.0, 1.0]), np.eye(3)
SPACES = {
    **dict.fromkeys(("right-anterior-superior", "RAS"), RAS),
    **dict.fromkeys(("left-anterior-superior", "LAS"), LAS),
    **dict.fromkeys(("left-posterior-superior", "LPS", "scanner-xyz", "3D-left-handed"), LPS),
}
UNITS_MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0}
NIFTI_UNITS_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 1e-3}
NRRD_TYPES = {
    "i1": "int8",
    "u1": "uchar",
    "i2": "short",
    "u2": "uint16",
    "i4": "int",
    "f4": "float",
    "f8": "double",
}
META_TYPES = {
    "i1": "MET_CHAR",
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}


@dataclass(frozen=True)
class Content:
    """Voxels (z, y, x), and the (3, 4) matrix from their index (x, y, z, 1) to LPS millimetres."""

    array: np.ndarray
    matrix: np.ndarray

    def same(self, other: "Content", straightened: float = 1e-5) -> bool:
        """Equal voxels (to float32, in which scaled ones are) at equal places, for every corner of the grid.

        `straightened` is how far a corner may be off, as a part of the largest step and of the coordinate.
        """
        if self.array.shape != other.array.shape:
            return False
        size = np.array(self.array.shape[::-1]) - 1
        corners = np.array([[*(size * bits), 1] for bits in np.ndindex(2, 2, 2)]).T
        here, there = self.matrix @ corners, other.matrix @ corners
        with np.errstate(over="ignore", invalid="ignore"):
            voxels = [a.astype(np.float32) for a in (self.array, other.array)]
        return bool(
            np.allclose(
                here,
                there,
                rtol=straightened,
                atol=straightened * np.linalg.norm(self.matrix[:, :3], axis=0).max(),
            )
            and np.allclose(*voxels, rtol=1e-6, atol=0, equal_nan=True)
        )


@dataclass(frozen=True)
class Generated:
    """A file and its independent reader.

    Attributes:
        data: the file of its voxels.
        compressed_from: the byte of `data` from which on it has a checksum, where it has.
        open_ended: a cut cannot be told: the header says that voxels are the last bytes of their file.
    """

    path: Path
    read: Callable[[Path], Content]
    data: Path
    compressed_from: int | None
    open_ended: bool = False


def generate(folder: Path, number: int) -> Generated:
    """File `number` of an endless, repeatable sequence."""
    rng = np.random.default_rng(number)
    kind = (nrrd_file, nifti_file, meta_file)[number % 3]
    return kind(folder / f"x{number}", rng)


def nrrd_file(stem: Path, rng: Rng) -> Generated:
    array, code = voxels(rng, list(NRRD_TYPES))
    space, unit = str(rng.choice(list(SPACES))), str(rng.choice([*UNITS_MM, ""]))
    steps, origin = placed(rng)
    encoding, order = str(rng.choice(["raw", "gzip", "bzip2", "ascii"])), str(rng.choice(["little", "big"]))
    layered, detached = rng.random() < 0.2, rng.random() < 0.3
    fields = {
        "type": NRRD_TYPES[code],
        "dimension": 3 + layered,
        "space": space,
        "sizes": " ".join(map(str, [1] * layered + list(array.shape[::-1]))),
        "space directions": " ".join(["none"] * layered + [vector(step) for step in steps.T]),
        "kinds": " ".join(["list"] * layered + ["domain"] * 3),
        "endian": order,
        "encoding": encoding,
        "space origin": vector(origin),
    }
    if unit:
        fields["space units"] = f'"{unit}" "{unit}" "{unit}"'
    stored = array.astype(("<" if order == "little" else ">") + code).tobytes()
    packed = {
        "raw": stored,
        "gzip": gzip.compress(stored),
        "bzip2": bz2.compress(stored),
        "ascii": " ".join(map(repr, array.ravel().tolist())).encode() + b"\n",
    }[encoding]
    path = stem.with_suffix(".nhdr" if detached else ".nrrd")
    data, open_ended = path, False
    if detached:
        data = stem.with_suffix(".bin")
        if encoding == "raw":
            skip = int(rng.integers(-1, 9))
            fields["byte skip"], open_ended = skip, skip == -1
            packed = bytes(skip if skip >= 0 else 5) + packed
        data.write_bytes(packed)
        fields["data file"] = data.name
    end = str(rng.choice(["\n", "\r\n"]))
    lines = ["NRRD0005", "# drawn at random", *(f"{k}: {v}" for k, v in fields.items()), "note:=a: b", "", ""]
    head = end.join(lines).encode()
    path.write_bytes(head if detached else head + packed)
    start = 0 if detached else len(head)
    return Generated(path, read_nrrd, data, start if encoding in {"gzip", "bzip2"} else None, open_ended)


def read_nrrd(path: Path) -> Content:
    """With pynrrd."""
    array, header = nrrd.read(str(path), index_order="C")
    spatial = [step for step in header["space directions"] if np.isfinite(step).all()]
    size = [n for n in array.shape if n > 1]
    scale = UNITS_MM[header["space units"][0]] if "space units" in header else 1.0
    to_lps = SPACES[header["space"]]
    matrix = np.column_stack([to_lps @ np.array(spatial).T, to_lps @ header["space origin"]]) * scale
    return Content(array.reshape(size), matrix)


def nifti_file(stem: Path, rng: Rng) -> Generated:
    array, code = voxels(rng, ["u1", "i2", "u2", "i4", "f4", "f8", "i1", "u4"])
    version = int(rng.integers(1, 3))
    order, packed = str(rng.choice(["<", ">"])), rng.random() < 0.5
    header = (nib.Nifti1Header, nib.Nifti2Header)[version - 1](endianness=order)
    header.set_data_dtype(np.dtype(code))
    header.set_data_shape((*array.shape[::-1], *[1] * int(rng.integers(0, 3))))
    affines = []
    for _ in range(2):
        steps, origin = placed(rng)
        affines.append(np.vstack([np.column_stack([RAS @ steps, origin]), [0, 0, 0, 1]]))
    forms = str(rng.choice(["q", "s", "same", "differ"]))
    header.set_qform(affines[0], 0 if forms == "s" else 1)
    header.set_sform(affines[1 if forms == "differ" else 0], 0 if forms == "q" else 2)
    header.set_xyzt_units(str(rng.choice(list(NIFTI_UNITS_MM))))
    scaled = rng.random() < 0.4
    header["scl_slope"], header["scl_inter"] = (
        rng.choice([2.0, 0.1, -1.5, 0.0]) if scaled else 1,
        scaled * 7.5,
    )
    start = {1: 352, 2: 544}[version] + 16 * int(rng.integers(0, 3))
    header["vox_offset"] = start
    stored = header.binaryblock.ljust(start, b"\0") + array.astype(order + code).tobytes()
    path = stem.with_suffix(".nii.gz" if packed else ".nii")
    path.write_bytes(gzip.compress(stored) if packed else stored)
    return Generated(path, read_nifti, path, 0 if packed else None)


def read_nifti(path: Path) -> Content:
    """With nibabel."""
    image = nib.load(path)
    array = np.asanyarray(image.dataobj)
    scale = NIFTI_UNITS_MM[image.header.get_xyzt_units()[0]]
    return Content(array.reshape(array.shape[:3]).T, RAS @ image.affine[:3] * scale)


def meta_file(stem: Path, rng: Rng) -> Generated:
    array, code = voxels(rng, list(META_TYPES), finite=True)
    steps, origin = placed(rng)
    spacing = np.linalg.norm(steps, axis=0)
    encoding = str(rng.choice(["raw", "zlib", "ascii"]))
    big = encoding != "ascii" and rng.random() < 0.5  # SimpleITK swaps the bytes of numbers that are text
    stored = array.astype((">" if big else "<") + code).tobytes()
    packed = {
        "raw": stored,
        "zlib": zlib.compress(stored),
        "ascii": " ".join(map(repr, array.ravel().tolist())).encode() + b"\n",
    }[encoding]
    beside = rng.random() < 0.5
    path = stem.with_suffix(".mhd" if beside else ".mha")
    data = stem.with_suffix(".data") if beside else path
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": encoding != "ascii",
        str(rng.choice(["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])): big,
        "CompressedData": encoding == "zlib",
        **({"CompressedDataSize": len(packed)} if encoding == "zlib" else {}),
        str(rng.choice(["TransformMatrix", "Rotation", "Orientation"])): spaced(steps / spacing),
        str(rng.choice(["Offset", "Position", "Origin"])): spaced(origin),
        str(rng.choice(["ElementSpacing", "ElementSize"])): spaced(spacing),
        "DimSize": " ".join(map(str, array.shape[::-1])),
        "ElementType": META_TYPES[code],
        "ElementDataFile": data.name if beside else "LOCAL",
    }
    head = "".join(f"{key} = {value}\n" for key, value in fields.items()).encode()
    path.write_bytes(head if beside else head + packed)
    if beside:
        data.write_bytes(packed)
    start = 0 if beside else len(head)
    return Generated(path, read_meta, data, start if encoding == "zlib" else None)


def read_meta(path: Path) -> Content:
    """With SimpleITK."""
    image = sitk.ReadImage(str(path))
    steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return Content(sitk.GetArrayFromImage(image), np.column_stack([steps, image.GetOrigin()]))


def voxels(rng: Rng, codes: list[str], finite: bool = False) -> tuple[np.ndarray, str]:
    """A random volume and the code of its type; floats hold NaN and infinite numbers now and then."""
    code, shape = str(rng.choice(codes)), tuple(rng.integers(2, 8, 3))
    dtype = np.dtype(code)
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True), code
    array = rng.normal(0, 1000, shape).astype(dtype)
    if not finite and rng.random() < 0.3:
        array.flat[:3] = [np.nan, np.inf, -np.inf]
    return array, code


def placed(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Steps (columns, mm) of an oblique or straight grid, right- or left-handed, and an origin."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if rng.random() < 0.3:
        turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    return turn * np.exp(rng.uniform(-2, 1.5, 3)), rng.normal(0, 100, 3)


def vector(numbers: np.ndarray) -> str:
    return f"({','.join(map(repr, numbers.tolist()))})"


def spaced(numbers: np.ndarray) -> str:
    """Numbers of a MetaImage header; of a matrix, column by column."""
    return " ".join(map(repr, numbers.T.ravel().tolist()))
