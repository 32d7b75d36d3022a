"""From the numbers of a header to a grid in patient space; sheared grids are refused."""

import logging
import math
from pathlib import Path

import numpy as np

from kneeformer.data.formats.base import FileFault, damaged, header_fault
from kneeformer.geometry.grid import Grid

# The cosine between two axes that should be at right angles. Above the first, the grid is sheared; up to the
# second it is the rounding of a writer (1e-7 in float32) and kept as it is; between them it is straightened.
SHEARED, ROUNDING = 1e-3, 1e-6

# Lengths other than millimetres that headers use.
UNITS_MM = {"um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}


def grid_of_steps(size: tuple[int, ...], steps: np.ndarray, origin: np.ndarray, field: str) -> Grid:
    """A grid from its steps.

    Args:
        size: voxels along (x, y, z).
        steps: (3, 3) mm, LPS; column i is one step along axis i of (x, y, z).
        origin: (3,) mm, LPS, of the first voxel's centre.
        field: name of the header field, for faults.

    Raises:
        FileFault: a step of length zero, axes in a plane, or sheared.
    """
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise header_fault(field, _text(steps), "each axis must have a length")
    return grid(size, spacing, steps / spacing, origin, field)


def grid(
    size: tuple[int, ...], spacing: np.ndarray, cosines: np.ndarray, origin: np.ndarray, field: str
) -> Grid:
    """As `grid_of_steps`, from spacing (x, y, z) and unit columns of `cosines`."""
    if not np.isfinite([*spacing, *origin]).all():
        raise damaged("damaged header: its spacing or origin is too large for a number")
    products = cosines.T @ cosines
    lengths, between = np.abs(np.diag(products) - 1).max(), np.abs(products[np.triu_indices(3, 1)]).max()
    if not lengths <= SHEARED:
        raise header_fault(field, _text(cosines), "its axes must be of length 1")
    if abs(np.linalg.det(cosines)) < 1e-3:
        raise header_fault(field, _text(cosines), "it must be three independent directions")
    if between > SHEARED:
        angle = math.degrees(math.acos(min(between, 1.0)))
        raise FileFault(
            f"a sheared grid: two of its axes ({field}) meet at {angle:.4g} degrees instead of 90, as in CT "
            f"with a tilted gantry; resample it onto an orthogonal grid (3D Slicer: Resample Scalar Volume, "
            f"or acquisition geometry regularization when importing DICOM)"
        )
    if max(lengths, between) > ROUNDING:
        left, _, right = np.linalg.svd(cosines)
        cosines = left @ right  # the nearest orthogonal directions; left-handed ones stay left-handed
    x, y, z = (float(v) for v in spacing)
    along, across, up = (float(v) for v in origin)
    return Grid((size[2], size[1], size[0]), (z, y, x), (along, across, up), tuple(cosines.ravel().tolist()))


def millimetres(path: Path, field: str, unit: str) -> float:
    """Return the length of a `unit` in mm; logs a line if it is not 1. Raises FileFault: unknown unit."""
    try:
        scale = UNITS_MM[unit.strip().lower()]
    except KeyError as fault:
        raise header_fault(field, unit, f"the units known are {', '.join(UNITS_MM)}") from fault
    if scale != 1:
        logging.getLogger(__name__).warning(
            "%s: its header is in %s (%s); spacing and origin are read as %g mm each",
            path,
            unit,
            field,
            scale,
        )
    return scale


def _text(numbers: np.ndarray) -> str:
    return " ".join(f"({', '.join(f'{v:.6g}' for v in row)})" for row in numbers.T)
