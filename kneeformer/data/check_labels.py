"""Check of a label map: one line a problem, beginning with the file."""

from pathlib import Path

import numpy as np

from kneeformer.data.label_map import as_label_map, not_whole
from kneeformer.data.segment_names import segment_problems
from kneeformer.errors import first_few
from kneeformer.labels import LabelScheme


def label_problems(path: Path, array: np.ndarray, scheme: LabelScheme) -> list[str]:
    """Return the problems that make a label map unfit for training: `meaning_problems`, or no structure.

    Args:
        array: (z, y, x), the file's voxels.
    """
    if problems := meaning_problems(path, array, scheme):
        return problems
    labels = as_label_map(array)
    if not scheme.foreground(labels).any():
        only = "background" if scheme.scored(labels).all() else "background and ignored voxels"
        return [f"{path}: holds no structure, only {only}; draw one, or move its image to imagesUn"]
    return []


def meaning_problems(path: Path, array: np.ndarray, scheme: LabelScheme) -> list[str]:
    """Return contradictions between a label map and dataset.json, in its values or its segments' names."""
    if not np.isfinite([array.min(), array.max()]).all():
        return [not_finite(path, array)]
    if fractions := not_whole(array):
        return [
            f"{path}: {fractions} label voxels are not whole numbers (probabilities, or resampled with "
            f"interpolation?); export label values, with nearest-neighbour interpolation"
        ]
    unknown, declared = sorted(_values(as_label_map(array)) - scheme.declared()), sorted(scheme.declared())
    if unknown:
        return [
            f"{path}: label values {first_few(unknown, 10)} are not declared in dataset.json, which has "
            f"{first_few(declared, 10)}; declare them, or give the file the values declared"
        ]
    return segment_problems(path, scheme)


def not_finite(path: Path, array: np.ndarray) -> str:
    """The line for a file with NaN or infinite voxels."""
    with np.errstate(over="ignore"):
        count = array.size - int(np.count_nonzero(np.isfinite(array.astype(np.float32, copy=False))))
    return (
        f"{path}: {count} of {array.size} voxels are NaN, infinite or over 3e38; replace them with a number"
    )


def _values(array: np.ndarray) -> set[int]:
    """The whole numbers that occur, slice by slice where counting is possible: no copy of the volume."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        return {int(v) for v in np.unique(array)}
    counts = np.zeros(high + 1, np.int64)
    for plane in array:
        counts += np.bincount(plane.ravel().astype(np.uint16), minlength=high + 1)
    return set(np.flatnonzero(counts).tolist())
