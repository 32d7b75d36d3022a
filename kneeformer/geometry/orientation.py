"""Orientation of array axes in the patient, and the orientation in which a dataset is prepared.

An orientation gives the directions of the array axes (z, y, x), one letter each of R/L, A/P and I/S. "SPL" is
an axial scan in LPS: slices run to superior, rows to posterior, columns to left.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from kneeformer.geometry.aliases import Spacing

Number = TypeVar("Number", int, float)

ENDS = ("RL", "AP", "IS")  # of the patient's x, y and z in LPS: where they come from, and where they lead
PLANES = ("sagittal", "coronal", "axial")  # across the patient's x, y and z
_THICK = 2.0  # times coarser than both other axes: the slices of a two-dimensional acquisition


def checked_orientation(text: str) -> str:
    """The orientation that a text names. Raises ValueError: the text is no orientation."""
    if sorted(patient_axes(text)) != [0, 1, 2]:
        raise ValueError(f"{text!r} is not an orientation: it has one letter each of RL, AP and IS, as SPL")
    return text


def patient_axes(orientation: str) -> tuple[int, ...]:
    """The patient axis along which each array axis runs: 0, 1 or 2 for x, y or z."""
    return tuple(next((a for a, ends in enumerate(ENDS) if end in ends), -1) for end in orientation)


def array_axes(orientation: str, ends: Sequence[str]) -> tuple[int, ...]:
    """The array axes along some of the patient's axes, which are given as in ENDS."""
    return tuple(axis for axis, letter in enumerate(orientation) if any(letter in pair for pair in ends))


def axis_directions(orientation: str) -> np.ndarray:
    """(3, 3) float64: column a is the direction of array axis a, along the patient's (x, y, z) in LPS."""
    directions = np.zeros((3, 3))
    for axis, (patient, letter) in enumerate(zip(patient_axes(orientation), orientation, strict=True)):
        directions[patient, axis] = 1.0 if letter == ENDS[patient][1] else -1.0
    return directions


def crop_to_patient(orientation: str, spacing: Spacing, centre_mm: np.ndarray) -> np.ndarray:
    """(3, 4) float32: voxels (z, y, x, 1) from a crop's middle, to mm along the patient's (x, y, z) from the
    middle of its volume.

    Args:
        spacing: mm along (z, y, x).
        centre_mm: (3,) from the volume's middle to the crop's, along the axes (z, y, x) of both.
    """
    directions = axis_directions(orientation)
    return np.column_stack([directions * spacing, directions @ centre_mm]).astype(np.float32)


def turning(old: str, new: str) -> tuple[list[int], list[bool]]:
    """The old axis of each axis of a new orientation, and whether its direction is reversed."""
    lines = patient_axes(old)
    axes = [lines.index(line) for line in patient_axes(new)]
    return axes, [old[a] != letter for a, letter in zip(axes, new, strict=True)]


def permuted(values: tuple[Number, Number, Number], axes: list[int]) -> tuple[Number, Number, Number]:
    """The values of three axes in another order of the axes."""
    return (values[axes[0]], values[axes[1]], values[axes[2]])


def turn(array: np.ndarray, old: str, new: str) -> np.ndarray:
    """A view of an array (..., z, y, x) in another orientation.

    `turn(turn(array, old, new), new, old)` is the array again.
    """
    axes, flipped = turning(old, new)
    before = array.ndim - 3
    view = array.transpose(*range(before), *(before + a for a in axes))
    return np.flip(view, tuple(before + a for a in range(3) if flipped[a]))


def slice_axis(spacing: Spacing) -> int | None:
    """The array axis of thick slices, more than twice as coarse as both others, or None."""
    *others, coarsest = sorted(range(3), key=lambda a: spacing[a])
    return coarsest if spacing[coarsest] > _THICK * max(spacing[a] for a in others) else None


def slice_plane(orientation: str, spacing: Spacing) -> str | None:
    """The plane of thick slices: sagittal, coronal or axial; None without thick slices."""
    thick = slice_axis(spacing)
    return None if thick is None else PLANES[patient_axes(orientation)[thick]]


def common_orientations(scans: Iterable[tuple[str, Spacing]]) -> tuple[str, ...]:
    """The orientations in which a dataset is prepared: one per plane of slices, the most frequent first.

    For each plane it is that of most scans, with the axis of thick slices first.

    Args:
        scans: orientation and spacing (z, y, x) of each.
    """
    planes: dict[str | None, Counter[str]] = {}
    for orientation, spacing in scans:
        stored = planes.setdefault(slice_plane(orientation, spacing), Counter())
        stored[_with_axis_first(orientation, slice_axis(spacing))] += 1
    by_size = sorted(planes.values(), key=lambda counts: (-sum(counts.values()), min(counts)))
    return tuple(dict.fromkeys(min(counts, key=lambda o: (-counts[o], o)) for counts in by_size))


def orientation_for(orientation: str, spacing: Spacing, prepared: Sequence[str]) -> str:
    """The orientation, among those of a dataset, in which a scan is prepared.

    A scan of thick slices takes that of the same plane, so that slices stay slices; any other scan, and one
    of a plane that the dataset lacks, takes the first.
    """
    thick = slice_axis(spacing)
    if thick is None:
        return prepared[0]
    across = patient_axes(orientation)[thick]
    return next((o for o in prepared if patient_axes(o)[0] == across), prepared[0])


def _with_axis_first(orientation: str, axis: int | None) -> str:
    if axis is None:
        return orientation
    return orientation[axis] + orientation[:axis] + orientation[axis + 1 :]
