"""Planes through a volume in radiological orientation, with their directions and pixel sizes."""

from dataclasses import dataclass

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import ENDS, PLANES, patient_axes

_TOWARDS = "LPI"  # where rows and columns lead along the patient's x, y and z


@dataclass(frozen=True)
class View:
    """Slices of a volume along one of its axes, in radiological orientation.

    Rows run towards the feet, or towards the back in an axial slice; columns run towards the patient's left,
    or towards the back in a sagittal slice. An oblique volume is shown along its own axes, named after the
    nearest axes of the patient.

    Attributes:
        plane: sagittal, coronal or axial.
        order: the array axes of slices, rows and columns.
        flipped: whether rows and columns run against their array axes.
        pixel_mm: height and width of a pixel.
        ends: letters of the directions at the top, bottom, left and right.
    """

    plane: str
    order: tuple[int, int, int]
    flipped: tuple[bool, bool]
    pixel_mm: tuple[float, float]
    ends: tuple[str, str, str, str]

    @classmethod
    def of(cls, grid: Grid, axis: int) -> "View":
        """Slices across an array axis of a grid."""
        orientation = grid.orientation()
        lines = patient_axes(orientation)
        columns, rows = sorted((a for a in range(3) if a != axis), key=lambda a: lines[a])
        (top, bottom), (left, right) = (_from_to(lines[a]) for a in (rows, columns))
        return cls(
            plane=PLANES[lines[axis]],
            order=(axis, rows, columns),
            flipped=(orientation[rows] != bottom, orientation[columns] != right),
            pixel_mm=(grid.spacing[rows], grid.spacing[columns]),
            ends=(top, bottom, left, right),
        )

    @classmethod
    def all_of(cls, grid: Grid) -> list["View"]:
        """The sagittal, the coronal and the axial view of a grid."""
        return sorted((cls.of(grid, axis) for axis in range(3)), key=lambda view: PLANES.index(view.plane))

    @property
    def axis(self) -> int:
        """The array axis across the slices."""
        return self.order[0]

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.pixel_mm[0] / self.pixel_mm[1]

    def slices(self, volume: np.ndarray) -> np.ndarray:
        """(slices, rows, columns) of a (z, y, x) volume: a view, the slices in the order of the array."""
        places = tuple(place for place, flipped in enumerate(self.flipped, 1) if flipped)
        return np.flip(volume.transpose(self.order), places)


def fullest_slice(labels: np.ndarray, axis: int) -> int:
    """The slice across an axis that shows most of all structures, each relative to its own fullest slice.

    Args:
        labels: (z, y, x) label map, 0 background; an empty one gives the middle slice.
    """
    others = tuple(a for a in range(3) if a != axis)
    shares = np.zeros(labels.shape[axis])
    for value in np.unique(labels[labels != 0]):
        counts = np.count_nonzero(labels == value, axis=others)
        shares += counts / counts.max()
    return int(shares.argmax()) if shares.any() else labels.shape[axis] // 2


def _from_to(patient_axis: int) -> tuple[str, str]:
    """The ends of a patient axis that a row or column comes from and leads to."""
    to = _TOWARDS[patient_axis]
    return ENDS[patient_axis].replace(to, ""), to
