"""DICOM series: all files of a series in a folder make one volume, by their positions; never written."""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from kneeformer.data.formats.base import FileFault, Format, Image, require_volume
from kneeformer.data.formats.dicom_planes import (
    Plane,
    is_dicom,
    planes_of,
    read_header,
    stored_values,
)
from kneeformer.data.formats.grid import grid_of_steps
from kneeformer.geometry.grid import Grid

Stored = Callable[[Path], np.ndarray]  # (frames, rows, columns) of a file, as stored

_ONE_PLACE_MM = 0.01  # planes closer than this are at the same place
_UNEVEN = 0.05  # part of the slice distance by which rounding of positions may move a slice
_ASIDE = 0.25  # part of a voxel, within the plane

_FIELD = "ImageOrientationPatient, ImagePositionPatient"


def _read(path: Path) -> Image:
    """The volume of a file's series, from all its files in the same folder."""
    stored = cache(stored_values)
    planes, copies = _planes(path, stored)
    if copies:
        logging.getLogger(__name__).warning("%s: %d slices occur twice and are read once", path, copies)
    return Image(_values(planes, [stored(plane.file)[plane.frame] for plane in planes]), _grid(planes))


def series_planes(path: Path) -> list[Plane]:
    """The planes of the series that a file belongs to, along their normal, without copies of slices.

    Only slices at equal depth, which may be copies, are decompressed.

    Raises:
        FileFault: they do not make one volume.
    """
    planes, _ = _planes(path, cache(stored_values))
    return planes


def _planes(path: Path, stored: Stored) -> tuple[list[Plane], int]:
    """Planes as of `series_planes`, and the number of copies."""
    found = [plane for file in series_files(path) for plane in planes_of(file, read_header(file))]
    _require_one_kind(found)
    planes = _without_copies(sorted(found, key=lambda p: p.depth), stored)
    require_volume((planes[0].size[1], planes[0].size[0], len(planes)))
    _require_even(planes)
    return planes, len(found) - len(planes)


def series_files(path: Path) -> list[Path]:
    """The files of a folder, by name, that belong to the series of one of them."""
    tag = ["SeriesInstanceUID"]
    series = read_header(path, tag).get(tag[0])
    if not series:
        raise FileFault("no SeriesInstanceUID: nothing tells which files belong to it; export it again")
    beside = sorted(p for p in path.parent.iterdir() if not p.name.startswith(".") and is_dicom(p))
    return [file for file in beside if read_header(file, tag).get(tag[0]) == series]


def _require_one_kind(planes: Sequence[Plane]) -> None:
    """Raises FileFault: planes of different sizes, spacings or orientations."""
    first = planes[0]
    for plane in planes[1:]:
        for what, one, other, tolerance in (
            ("rows and columns", first.size, plane.size, 0),
            ("mm between them", first.spacing, plane.spacing, 1e-4),
            ("orientation", first.axes, plane.axes, 1e-3),
        ):
            if not np.allclose(one, other, rtol=0, atol=tolerance):
                raise FileFault(
                    f"mixes different planes in one series: {first} and {plane} differ in their {what} "
                    f"({_text(one)} and {_text(other)}); export them as series of their own"
                )


def _without_copies(planes: Sequence[Plane], stored: Stored) -> list[Plane]:
    """The first plane at each depth. Raises FileFault: another one there differs."""
    kept: list[Plane] = []
    for plane in planes:
        if not kept or plane.depth - kept[-1].depth > _ONE_PLACE_MM:
            kept.append(plane)
            continue
        first = kept[-1]
        scaled = (plane.slope, plane.intercept) == (first.slope, first.intercept)
        aside = np.abs(plane.position - first.position).max() > _ONE_PLACE_MM
        one, other = (stored(p.file)[p.frame] for p in (first, plane))
        if aside or not scaled or not np.array_equal(one, other):
            raise FileFault(
                f"{first} and {plane} lie at one depth and differ: several echoes, phases, time points or "
                f"stacks in one series; export each as a series of its own"
            )
    return kept


def _require_even(planes: Sequence[Plane]) -> None:
    """Raises FileFault: slices are missing, or unevenly spaced."""
    steps = np.diff([plane.depth for plane in planes])
    usual = float(np.median(steps))
    for (before, after), step in zip(pairwise(planes), steps, strict=True):
        if step > 1.5 * usual:
            raise FileFault(
                f"slices are missing: {before} and {after} are {step:.4g} mm apart, others {usual:.4g} mm; "
                f"export the whole series"
            )
    positions, normal = np.stack([plane.position for plane in planes]), np.cross(*planes[0].axes)
    residual = positions - np.linspace(positions[0], positions[-1], len(planes))
    along = residual @ normal
    aside = np.linalg.norm(residual - along[:, None] * normal, axis=1)
    if np.abs(along).max() > _UNEVEN * usual or aside.max() > _ASIDE * planes[0].spacing.min():
        raise FileFault(
            f"its slices are {steps.min():.4g} to {steps.max():.4g} mm apart, or not in a line; resample "
            f"them evenly (3D Slicer: acquisition geometry regularization when importing DICOM)"
        )


def _grid(planes: Sequence[Plane]) -> Grid:
    """Slice spacing follows from the positions. Raises FileFault: sheared, e.g. by a tilted gantry."""
    first, last = planes[0], planes[-1]
    (along_row, along_column), (rows, columns) = first.axes, first.spacing
    step = (last.position - first.position) / (len(planes) - 1)
    steps = np.stack([along_row * columns, along_column * rows, step], axis=1)
    return grid_of_steps((*first.size[::-1], len(planes)), steps, first.position, _FIELD)


def _values(planes: Sequence[Plane], stored: Sequence[np.ndarray]) -> np.ndarray:
    """(z, y, x): integers while slopes are 1 and intercepts whole, else float32."""
    slopes, intercepts = (np.array([getattr(p, n) for p in planes]) for n in ("slope", "intercept"))
    array: np.ndarray = np.stack(stored)
    if (slopes == 1).all() and not intercepts.any():
        return array
    if (slopes == 1).all() and (intercepts % 1 == 0).all() and array.dtype.kind in "iu":
        shifted: np.ndarray = array.astype(np.int64) + intercepts.astype(np.int64)[:, None, None]
        narrow = np.promote_types(np.min_scalar_type(shifted.min()), np.min_scalar_type(-shifted.max() - 1))
        return shifted.astype(np.promote_types(narrow, np.int16))
    scaled: np.ndarray = array.astype(np.float64) * slopes[:, None, None] + intercepts[:, None, None]
    return scaled.astype(np.float32)


def _text(values: object) -> str:
    return " ".join(f"{v:g}" for v in np.ravel(np.asarray(values)).tolist())


def _unwritable(name: str, image: Image) -> list[tuple[str, bytes]]:
    raise FileFault("DICOM series are read, not written; choose another image format")


DICOM = Format((), _read, _unwritable, recognises=is_dicom)
