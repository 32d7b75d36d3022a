"""Sampling masks with an exact number of samples, and their true acceleration.

A mask is boolean over the phase-encoding axes: (columns,) where one axis is encoded in steps, (slices,
columns) where two are, as in 3D scans. `acquired` is that of the file: padding and what a scanner left out
are False and never count.
"""

import math
from collections.abc import Sequence

import numpy as np

from kneeformer.errors import KneeformerError
from kneeformer.kspace.fastmri_masks import FASTMRI_KINDS, centre_lines, fastmri_mask

FEWEST_CENTRE_LINES = 6
LARGEST_CALIBRATION = 24  # samples along each axis of a 3D scan
FULLY_SAMPLED = 1.1  # the highest apparent acceleration that counts as fully sampled
_FULLY_SAMPLED_3D = 1.4  # the same for two encoded axes: scanners that omit the corners have 4 / pi
_CENTRE_SHARE = 0.32  # of the measured samples: 0.08 of the columns at 4x, 0.04 at 8x
MASK_KINDS = ("random", "equispaced", "poisson_disc", *(f"fastmri_{kind}" for kind in FASTMRI_KINDS))


def draw_mask(kind: str, acquired: np.ndarray, acceleration: float, seed: Sequence[int]) -> np.ndarray:
    """A mask of one of MASK_KINDS that measures about 1 / acceleration of what was acquired.

    "random" and "equispaced" measure exactly round(acquired / acceleration) columns, but at least the centre;
    "poisson_disc" measures that number of samples of two axes; those of fastMRI keep what fastMRI draws,
    without padding.

    Raises:
        KneeformerError: no such kind, another number of axes than it needs, or an acceleration below 1.
    """
    if kind not in MASK_KINDS:
        raise KneeformerError(f"mask {kind!r} is not one of {', '.join(MASK_KINDS)}")
    if not acceleration >= 1:
        raise KneeformerError(f"an acceleration of {acceleration:g}; give a number of 1 or more")
    axes = 2 if kind == "poisson_disc" else 1
    if acquired.ndim != axes:
        raise KneeformerError(
            f"mask {kind!r} is for {axes} phase-encoding axes, but these data have {acquired.ndim}"
        )
    if kind == "poisson_disc":
        return poisson_disc(acquired, acceleration, np.random.default_rng(seed))
    if kind.startswith("fastmri_"):
        fraction = _CENTRE_SHARE / acceleration
        whole = round(acceleration)
        drawn = fastmri_mask(kind.removeprefix("fastmri_"), len(acquired), whole, fraction, seed)
        return np.asarray(acquired & drawn)
    return _columns(acquired, acceleration, np.random.default_rng(seed), even=kind == "equispaced")


def true_acceleration(mask: np.ndarray, acquired: np.ndarray) -> float:
    """Acquired samples over those that the mask keeps, both bool of one shape; padding does not count."""
    return float(acquired.sum() / (mask & acquired).sum())


def measured_columns(kspace: np.ndarray) -> np.ndarray:
    """(columns,) bool: columns of (coils, slices, rows, columns) with any sample that is not exactly zero."""
    return np.asarray(kspace.any((0, 1, 2)))


def apparent_acceleration(mask: np.ndarray) -> float:
    """Samples from the first to the last measured one of each axis, over those that were measured.

    It is the acceleration that a file alone shows.

    Args:
        mask: bool over the phase-encoding axes.
    """
    if not mask.any():
        return float("inf")
    places = np.argwhere(mask)
    return float(np.prod(np.ptp(places, 0) + 1) / len(places))


def is_fully_sampled(mask: np.ndarray) -> bool:
    """True where a mask over one or two encoded axes leaves out no more than a full acquisition."""
    return apparent_acceleration(mask) <= (FULLY_SAMPLED if mask.ndim == 1 else _FULLY_SAMPLED_3D)


def centre_width(mask: np.ndarray) -> int:
    """Number of measured columns around the zero frequency without a gap; mask (columns,) bool."""
    count = 0
    while count < len(mask) and mask[centre_lines(len(mask), count + 1)].all():
        count += 1
    return count


def _columns(acquired: np.ndarray, acceleration: float, rng: np.random.Generator, even: bool) -> np.ndarray:
    there = int(acquired.sum())
    centre = max(FEWEST_CENTRE_LINES, round(there * _CENTRE_SHARE / acceleration))
    mask: np.ndarray = acquired & centre_lines(len(acquired), centre)
    left = np.flatnonzero(acquired & ~mask)
    count = min(len(left), max(0, round(there / acceleration) - int(mask.sum())))
    if even:
        chosen = left[np.floor((np.arange(count) + rng.random()) * len(left) / max(1, count)).astype(int)]
    else:
        chosen = rng.choice(left, count, replace=False)
    mask[chosen] = True
    return mask


def poisson_disc(
    acquired: np.ndarray, acceleration: float, rng: np.random.Generator, decay: float = 3.0
) -> np.ndarray:
    """A variable-density Poisson-disc mask with a fully measured centre (Vasanawala et al. 2011).

    The distance between samples grows outwards, (1 + decay x radius) times the smallest one, which is as
    large as the wanted number of samples allows.

    Args:
        acquired: (slices, columns) bool.
        decay: growth of the distance from the centre to the edge, where the radius is 1.
    """
    budget = round(int(acquired.sum()) / acceleration)
    side = min(LARGEST_CALIBRATION, math.isqrt(budget // 2))
    slices, columns = acquired.shape
    centre = np.outer(centre_lines(slices, min(side, slices)), centre_lines(columns, min(side, columns)))
    mask: np.ndarray = acquired & centre
    wanted = budget - int(mask.sum())
    radius = np.hypot(*np.meshgrid(*(np.linspace(-1, 1, n) for n in acquired.shape), indexing="ij"))
    order = rng.permutation(np.flatnonzero(acquired & ~mask))
    low, high = 0.0, float(max(acquired.shape))
    chosen = order[:wanted]
    for _ in range(12):
        distance = (low + high) / 2
        found = _darts(order, distance * (1 + decay * radius), wanted)
        low, high = (distance, high) if len(found) == wanted else (low, distance)
        chosen = found if len(found) == wanted else chosen
    mask.flat[chosen] = True
    return mask


def _darts(order: np.ndarray, distance: np.ndarray, wanted: int) -> np.ndarray:
    """The first `wanted` flat indices in `order` that keep their distance from all earlier ones."""
    free = np.ones(distance.shape, bool)
    slices, columns = (np.arange(n) for n in distance.shape)
    chosen: list[int] = []
    for index in order.tolist():
        z, x = divmod(index, len(columns))
        if not free[z, x]:
            continue
        chosen.append(index)
        if len(chosen) == wanted:
            break
        reach = float(distance[z, x])
        near = (_around(z, reach), _around(x, reach))
        away = (slices[near[0]] - z)[:, None] ** 2 + (columns[near[1]] - x) ** 2
        free[near] &= away > reach**2
    return np.array(chosen, int)


def _around(middle: int, reach: float) -> slice:
    return slice(max(0, middle - int(reach)), middle + int(reach) + 1)
