"""Intensities far from the others, padding and reading faults: reported, and left out of statistics."""

from dataclasses import dataclass
from math import gcd

import numpy as np

from kneeformer.geometry.boxes import Box, bounding_box

_SAMPLE = 50_000  # voxels from which limits are estimated
_PERCENTILES = (0.5, 99.5)
_BELOW, _ABOVE = 3.0, 5.0  # times the range between these; clean MRI reaches 0.1 below it and 3.4 above
_ALMOST_NONE = 1e-3  # of the voxels
_ENDS = 0.9  # of what a type holds
_FEW = 12  # values; a scan has hundreds


@dataclass(frozen=True)
class Limits:
    """The range beyond which voxels are outliers."""

    low: float
    high: float

    def within(self, voxels: np.ndarray) -> np.ndarray | None:
        """Mask of the voxels that are not outliers, bool of their shape; None if no voxel is one."""
        if self.low <= float(voxels.min()) and float(voxels.max()) <= self.high:
            return None
        with np.errstate(over="ignore"):  # a limit may be beyond what the voxels' type holds
            return np.asarray((voxels >= self.low) & (voxels <= self.high))


def outlier_limits(voxels: np.ndarray) -> Limits:
    """The limits of an image: three times the range of its middle 99 % below that, five times above.

    The lowest and highest value do not count in the range: padding with such a value, as around a CT's
    circular field of view, is an outlier however many voxels have it. But 0, the usual background, never is.

    Args:
        voxels: finite real numbers of any shape.
    """
    low, high = _middle(evenly_sampled(voxels))
    if low == high and (others := voxels[voxels != low]).size:  # nearly constant: what differs is all read
        least, most = _middle(others.astype(np.float64))
        low, high = min(low, least), max(high, most)
    if low == high:
        return Limits(-np.inf, np.inf)
    spread = high - low
    return Limits(min(0.0, low - _BELOW * spread), max(0.0, high + _ABOVE * spread))


def filled_box(image: np.ndarray, labels: np.ndarray | None = None) -> Box:
    """The smallest box around every voxel that is labelled or, in some channel, neither 0 nor an outlier.

    Args:
        image: (channels, z, y, x).
        labels: (z, y, x) or None.
    """
    filled = np.any([_filled(channel) for channel in image], axis=0)
    if labels is not None:
        filled |= labels > 0
    return bounding_box(filled)


def outlier_warnings(voxels: np.ndarray) -> list[str]:
    """Return warnings about an image's outliers and other impossible intensities, one line each.

    Args:
        voxels: (z, y, x) as its file holds it, finite.
    """
    found = [_far_outside(voxels), _almost_constant(voxels), _wrapped(voxels), _as_labels(voxels)]
    return [line for line in found if line is not None]


def count_text(count: int, voxels: np.ndarray) -> str:
    """A number of voxels as text: "18 voxels (0.07 %)"."""
    return f"{count} voxel{'s' if count > 1 else ''} ({100 * count / voxels.size:.2g} %)"


def _far_outside(voxels: np.ndarray) -> str | None:
    within = outlier_limits(voxels).within(voxels)
    if within is None:
        return None
    far, others = voxels[~within], voxels[within]
    low, high = far.min(), far.max()
    values = f"at {low:g}" if low == high else f"between {low:g} and {high:g}"
    return (
        f"{count_text(far.size, voxels)} lie {values}, far outside the others ({others.min():g} to "
        f"{others.max():g}): padding or a reading fault; they are clipped to these"
    )


def _almost_constant(voxels: np.ndarray) -> str | None:
    low, high = np.percentile(evenly_sampled(voxels), _PERCENTILES)
    if low < high:
        return None
    others = int(np.count_nonzero(voxels != low))
    if not 0 < others < _ALMOST_NONE * voxels.size:
        return None
    return f"all but {count_text(others, voxels)} are {low:g}: see whether this is the right image"


def _wrapped(voxels: np.ndarray) -> str | None:
    """Numbers beyond the largest of a signed type come out as its lowest ones."""
    if voxels.dtype.kind != "i":
        return None
    limits, holds = outlier_limits(voxels), np.iinfo(voxels.dtype)
    low, high = max(int(voxels.min()), limits.low), min(int(voxels.max()), limits.high)
    if low > _ENDS * holds.min or high < _ENDS * holds.max:
        return None
    return (
        f"intensities reach from {low:g} to {high:g}, all that {voxels.dtype} holds: unsigned numbers stored "
        f"as signed ones? the brightest voxels are then the darkest; export it again"
    )


def _as_labels(voxels: np.ndarray) -> str | None:
    values = np.unique(evenly_sampled(voxels))
    if not 1 < len(values) <= _FEW:
        return None
    return f"holds {len(values)} different values, as a label map does: see whether this is the right image"


def _filled(channel: np.ndarray) -> np.ndarray:
    within = outlier_limits(channel).within(channel)
    filled = channel != 0
    return np.asarray(filled if within is None else filled & within)


def evenly_sampled(voxels: np.ndarray) -> np.ndarray:
    """Return (n,) float64: up to twice _SAMPLE voxels, evenly from all rows and columns."""
    step = max(1, voxels.size // _SAMPLE)
    while gcd(step, voxels.size) > 1:
        step += 1
    return voxels.ravel()[::step].astype(np.float64)


def _middle(values: np.ndarray) -> tuple[float, float]:
    """The percentiles of the values between the lowest and the highest; of all values if there are none."""
    between = values[(values > values.min()) & (values < values.max())]
    low, high = np.percentile(between if between.size else values, _PERCENTILES)
    return float(low), float(high)
