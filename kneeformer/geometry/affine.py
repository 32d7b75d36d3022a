"""Affine maps of points in space: one (4, 4) matrix, for poses, for transforms in files and for grids."""

import numpy as np
import numpy.typing as npt
import scipy

from kneeformer.geometry.aliases import Vector

Affine = npt.NDArray[np.float64]  # (4, 4), acts on column vectors (x, y, z, 1) in mm


def rotation(degrees: Vector) -> npt.NDArray[np.float64]:
    """(3, 3) rotation about the first axis, then the second, then the third, all of them fixed in space."""
    return np.asarray(scipy.spatial.transform.Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())


def transformed(points: np.ndarray, matrix: np.ndarray) -> npt.NDArray[np.float64]:
    """(..., 3) points mapped by a (4, 4) matrix."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
