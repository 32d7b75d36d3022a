"""The grid of an ISMRMRD scan in the patient, from the directions and positions that its readouts carry."""

import numpy as np

from kneeformer.data.formats.base import FileFault
from kneeformer.data.formats.grid import grid
from kneeformer.data.formats.ismrmrd_header import Header, encoded_spacing, image_shape, matrix
from kneeformer.geometry.grid import Grid

_DIRECTIONS = ("phase_dir", "read_dir", "slice_dir")  # of columns, rows, slices: x, y, z of an index
_UNEVEN = 0.05  # part of the distance between slices


def is_oriented(heads: np.ndarray) -> bool:
    """True if heads give the patient's orientation; otherwise their directions are zeros."""
    return all(heads[0][name].any() for name in _DIRECTIONS)


def slices_in_order(heads: np.ndarray) -> np.ndarray:
    """Numbers of the slices, along the direction of slices if readouts give it."""
    numbers, first = np.unique(heads["idx"]["slice"], return_index=True)
    along = heads["position"][first] @ heads[0]["slice_dir"]
    return np.asarray(numbers[np.argsort(along, kind="stable")])


def image_grid(heads: np.ndarray, slices: np.ndarray, header: Header) -> Grid:
    """The grid of the image: the field of view of the header's reconSpace around the position of each slice.

    Slices are as far apart as their positions, or as thick as the header says. The middle of the field of
    view is the voxel n // 2, where a centred Fourier transform has it.

    Args:
        heads: heads of readouts, with positions in mm and directions, LPS.
        slices: as from `slices_in_order`.

    Raises:
        FileFault: slices of several directions or at uneven distances, or directions not at right angles.
    """
    encoded, spacing = matrix(header, "encodedSpace"), encoded_spacing(header)
    depth, height, width = image_shape(header)
    shape = (len(slices) if encoded[0] == 1 else depth, height, width)
    if not is_oriented(heads):
        return Grid(shape, spacing)
    if any(np.ptp(heads[name], axis=0).max() > 1e-3 for name in _DIRECTIONS):
        raise FileFault("its slices lie in different directions; write each direction into its own file")
    cosines = np.stack([heads[0][name] for name in _DIRECTIONS], 1).astype(np.float64)
    centres = np.stack([heads["position"][heads["idx"]["slice"] == s][0] for s in slices]).astype(np.float64)
    thickness = _distance(centres, cosines[:, 2], spacing[0])
    steps_mm = np.array([spacing[2], spacing[1], thickness])
    middle = [n // 2 - (n - size) // 2 for n, size in zip(encoded, shape, strict=True)]  # of (z, y, x)
    if encoded[0] == 1:
        middle[0] = 0  # each slice has its position
    origin = centres[0] - cosines @ (steps_mm * middle[::-1])
    return grid((width, height, shape[0]), steps_mm, cosines, origin, ", ".join(_DIRECTIONS))


def _distance(centres: np.ndarray, direction: np.ndarray, otherwise: float) -> float:
    """Millimetres between neighbouring slices, or `otherwise` if the positions do not give it."""
    gaps = np.diff(centres, axis=0)
    if not gaps.any():
        return otherwise
    along = gaps @ direction
    uneven = np.abs(gaps - along.mean() * direction).max()
    if along.mean() <= 0 or uneven > _UNEVEN * along.mean():
        raise FileFault(
            "its slices are not one above the other at even distances; write each stack into its own file"
        )
    return float(along.mean())
