"""Length of a bone, and its uncertainty if an end was completed."""

from dataclasses import dataclass

import numpy as np

from kneeformer.geometry.affine import transformed
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.long_axis import longest_axis

COVERAGE = 0.9  # of the interval
FEWEST = 9  # errors that determine it
_GAUSSIAN = 1.645  # standard deviations of a Gaussian interval of that coverage
_END_MM = 3.0  # from the extreme point, within which the surface is the end


@dataclass(frozen=True)
class Length:
    """Extent of a bone along its longest axis in mm, and its standard deviation."""

    mm: float
    deviation_mm: float


def length_of(vertices: np.ndarray, deviation: np.ndarray | None, grid: Grid) -> Length:
    """Measure a bone. At its ends the surface crosses the axis, so errors of the surface change the length.

    Args:
        vertices: (n, 3) mm of its surface.
        deviation: (z, y, x) mm of the surface, 0 where it is visible; None if unknown.
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

    By split conformal prediction (Vovk et al. 2005) it is the ceil(COVERAGE (n + 1))-th smallest of n errors.
    With fewer than FEWEST it is that of a Gaussian.

    Args:
        ratios: (n,) ratios of absolute errors to deviations.
    """
    if len(ratios) < FEWEST:
        return _GAUSSIAN
    return float(np.sort(ratios)[int(np.ceil(COVERAGE * (len(ratios) + 1))) - 1])
