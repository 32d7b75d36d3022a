"""Length of a bone, and how far it may be wrong where an end of it was completed."""

from dataclasses import dataclass

import numpy as np

from kneeformer.geometry.affine import transformed
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.long_axis import longest_axis

COVERAGE = 0.9  # of the interval
FEWEST = 9  # errors that tell it
_GAUSSIAN = 1.645  # standard deviations that hold it
_END_MM = 3.0  # surface so near to the extreme point is the end


@dataclass(frozen=True)
class Length:
    """Extent of a bone along its longest axis in mm, and its standard deviation."""

    mm: float
    deviation_mm: float


def length_of(vertices: np.ndarray, deviation: np.ndarray | None, grid: Grid) -> Length:
    """Measure a bone. At its ends the surface runs across the axis, so what moves the one moves the other.

    Args:
        vertices: (n, 3) mm of its surface.
        deviation: (z, y, x) mm of the surface, 0 where it is visible; None where it is not known.
    """
    along = vertices @ longest_axis(vertices)
    variance = 0.0
    if deviation is not None:
        index = np.rint(transformed(vertices, grid.to_index())).astype(int)
        z, y, x = index.clip(0, np.array(deviation.shape) - 1).T
        squared = deviation[z, y, x].astype(float) ** 2
        ends = (along < along.min() + _END_MM, along > along.max() - _END_MM)
        variance = sum(float(squared[end].mean()) for end in ends)
    return Length(float(np.ptp(along)), variance**0.5)


def conformal_quantile(ratios: np.ndarray) -> float:
    """The factor by which deviations are multiplied so that intervals hold COVERAGE of new errors.

    That of split conformal prediction (Vovk et al. 2005): of n errors the ceil(COVERAGE (n + 1))-th smallest.
    Of fewer than FEWEST there is none: then that of a Gaussian.

    Args:
        ratios: (n,) of absolute errors to deviations.
    """
    if len(ratios) < FEWEST:
        return _GAUSSIAN
    return float(np.sort(ratios)[int(np.ceil(COVERAGE * (len(ratios) + 1))) - 1])
