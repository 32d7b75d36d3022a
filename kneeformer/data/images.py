"""Image files in and out, with their geometry: NRRD, NIfTI and MetaImage."""

import gzip
import math
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from kneeformer.data.geometry import Geometry
from kneeformer.errors import KneeformerError

FILE_ENDINGS = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha", ".mhd")

# NIfTI-1 codes of real scalars: (u)int8 to (u)int64, float32, float64. SimpleITK can crash on the others.
NIFTI_SCALARS = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}

# What NRRD calls the axes of patient space, as signs that turn them into LPS. A space without
# anatomy (scanner-xyz, 3D-right-handed, none) is taken as it is, as ITK takes it.
NRRD_SPACES = {
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}

sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True)
class Image:
    """One scalar volume. `array` has axes (z, y, x)."""

    array: np.ndarray
    geometry: Geometry


def read_image(path: Path) -> Image:
    """Read a three-dimensional scalar file.

    SimpleITK reads it; a valid NRRD that SimpleITK refuses is read with pynrrd.

    Raises:
        KneeformerError: missing, empty, cut short, unreadable, not three-dimensional, or more than one
            value a voxel.
    """
    if not path.is_file():
        raise KneeformerError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise KneeformerError(f"{path}: empty file (0 bytes); export it again")
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        _require_sound_nifti(path)
    reader = "MetaImageIO" if name.endswith((".mha", ".mhd")) else ""  # ITK does not find it for .MHA
    try:
        image = _from_sitk(path, sitk.ReadImage(str(path), imageIO=reader))
    except RuntimeError as fault:
        if not name.endswith(".nrrd"):
            raise _unreadable(path, _reason(fault)) from fault
        image = _read_with_pynrrd(path, fault)
    if not np.isfinite([*image.geometry.spacing, *image.geometry.origin, *image.geometry.direction]).all():
        raise _unreadable(path, "its spacing, origin or direction holds NaN or infinite numbers")
    return image


def _from_sitk(path: Path, image: sitk.Image) -> Image:
    _require_scalars(path, image.GetNumberOfComponentsPerPixel())
    _require_volume(path, image.GetSize())
    array = sitk.GetArrayFromImage(image)
    geometry = Geometry(
        (array.shape[0], array.shape[1], array.shape[2]),
        _triple(image.GetSpacing()[::-1]),
        _triple(image.GetOrigin()),
        tuple(image.GetDirection()),
    )
    return Image(array, geometry)


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` (z, y, x) on `geometry`, compressed; the file appears whole or not at all."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    ending = file_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".mhd":  # two files: the header, written last, makes the pair visible
        sitk.WriteImage(image, str(path), True)
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        unfinished = Path(folder) / f"image{ending}"
        sitk.WriteImage(image, str(unfinished), True)
        unfinished.replace(path)


def file_ending(path: Path) -> str:
    """The ending of the convention that `path` carries in any case: ".nii.gz" of K01.NII.GZ, ".seg.nrrd", ...

    Raises:
        KneeformerError: it carries none.
    """
    for ending in FILE_ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise KneeformerError(f"{path}: not an image file; endings known: {', '.join(FILE_ENDINGS)}")


def _require_sound_nifti(path: Path) -> None:
    """Refuse what SimpleITK would read wrongly: it fills a cut NIfTI with zeros, without a word, and
    crashes the process on some headers with many dimensions, colours or complex numbers."""
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            header = stream.read(348)
            promised = _nifti_bytes(path, header)
            stored = len(header) + sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
    except (OSError, EOFError, zlib.error) as fault:
        raise _unreadable(path, f"cut short or damaged: {_reason(fault)}") from fault
    if stored < promised:
        raise _unreadable(path, f"cut short: {stored} of {promised} bytes")


def _nifti_bytes(path: Path, header: bytes) -> int:
    """Size of the unpacked file that a NIfTI-1 header promises; 0 where it is no such header."""
    order = {348: "<", 1543569408: ">"}.get(struct.unpack("<i", header[:4].ljust(4, b"\0"))[0])
    if order is None or len(header) < 348:
        return 0
    dimensions, *extents = struct.unpack_from(f"{order}8h", header, 40)
    kind, bits = struct.unpack_from(f"{order}2h", header, 70)
    size = [max(int(n), 1) for n in extents[: max(dimensions, 0)]]
    while len(size) > 3 and size[-1] == 1:
        size.pop()
    if kind not in NIFTI_SCALARS:
        raise KneeformerError(
            f"{path}: its voxels are not plain numbers (NIfTI type {kind}: RGB, complex or "
            "unknown); write one file a channel, with one value a voxel"
        )
    _require_volume(path, tuple(size))
    start = struct.unpack_from(f"{order}f", header, 108)[0]
    if not 0 <= start < 1e9:
        raise _unreadable(path, f"damaged header: its voxels start at byte {start:g}")
    return int(start) + math.prod(size) * int(bits) // 8


def _read_with_pynrrd(path: Path, refusal: RuntimeError) -> Image:
    import nrrd

    try:
        data, header = nrrd.read(str(path), index_order="C")
    except Exception as fault:  # pynrrd raises NRRDError, ValueError, zlib.error, EOFError, ...
        raise _unreadable(path, f"SimpleITK: {_reason(refusal)}; pynrrd: {_reason(fault)}") from fault
    spatial = _spatial_axes(header, data.ndim)
    beside = [size for axis, size in enumerate(reversed(data.shape)) if axis not in spatial]
    _require_scalars(path, math.prod(beside))
    volume = data.reshape([data.shape[data.ndim - 1 - axis] for axis in reversed(spatial)])
    _require_volume(path, volume.shape[::-1])
    return Image(np.ascontiguousarray(volume), _nrrd_geometry(path, volume.shape, header, spatial))


def _spatial_axes(header: dict[str, Any], dimensions: int) -> list[int]:
    """Axes of the file (fastest first) that lie in space: those whose direction is not "none"."""
    directions = header.get("space directions")
    if directions is None:
        return list(range(dimensions))
    return [axis for axis, step in enumerate(directions) if step is not None and not np.isnan(step).all()]


def _nrrd_geometry(
    path: Path, shape: tuple[int, ...], header: dict[str, Any], spatial: list[int]
) -> Geometry:
    size = (shape[0], shape[1], shape[2])
    directions = header.get("space directions")
    if directions is None:
        spacings = np.nan_to_num(np.asarray(header.get("spacings", np.ones(3)), dtype=float), nan=1.0)
        return Geometry(size, _triple(spacings[::-1]))
    steps = np.array([directions[axis] for axis in spatial], dtype=float)  # rows: a step of index x, y, z
    origin = np.asarray(header.get("space origin", np.zeros(3)), dtype=float)
    if steps.shape != (3, 3) or not np.isfinite(steps).all() or np.linalg.matrix_rank(steps) < 3:
        raise _unreadable(path, "its space directions are not three independent vectors")
    if origin.shape != (3,):
        raise _unreadable(path, "its space origin is not three numbers")
    signs = np.array(NRRD_SPACES.get(str(header.get("space")).lower(), (1.0, 1.0, 1.0)))
    spacing = np.linalg.norm(steps, axis=1)
    cosines = (signs * steps / spacing[:, None]).T
    return Geometry(size, _triple(spacing[::-1]), _triple(signs * origin), tuple(cosines.ravel().tolist()))


def _require_scalars(path: Path, values: int) -> None:
    if values != 1:
        raise KneeformerError(
            f"{path}: {values} values a voxel (RGB, complex, vector or layers of overlapping segments); "
            f"write one value a voxel, one file a channel"
        )


def _require_volume(path: Path, size: tuple[int, ...]) -> None:
    if len(size) != 3 or min(size) < 2:
        kind = f"{len(size)}-dimensional" if len(size) > 3 else "two-dimensional"
        raise KneeformerError(
            f"{path}: {kind} (size {' x '.join(map(str, size))}); write one three-dimensional volume a file"
        )


def _unreadable(path: Path, reason: str) -> KneeformerError:
    return KneeformerError(f"{path}: cannot be read ({reason}); export it again")


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return (x, y, z)


def _reason(fault: Exception) -> str:
    """The last line of a reader's complaint, without the place in its source."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    text = lines[-1] if lines else type(fault).__name__
    if "MetaImageIO" in str(fault) and "Reason: " in text:  # ITK reports errno, which says something else
        return "its voxels are cut short or missing"
    return text.split("): ")[-1].removesuffix(".")[:160]
