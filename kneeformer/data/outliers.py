"""Intensities far outside the others: padding, reading faults, CT that is not in Hounsfield units."""

from dataclasses import dataclass

import numpy as np

_SAMPLE = 100_000  # voxels from which limits are told
_PERCENTILES = (0.5, 99.5)
_FAR = 10.0  # times the range between these; clean images of brains and knees reach 3.4


@dataclass(frozen=True)
class Limits:
    """The range beyond which voxels are outliers."""

    low: float
    high: float

    def within(self, voxels: np.ndarray) -> np.ndarray | None:
        """Boolean mask of the voxels that are no outliers; None where none is."""
        if voxels.min() >= self.low and voxels.max() <= self.high:
            return None
        return np.asarray((voxels >= self.low) & (voxels <= self.high))


def outlier_limits(voxels: np.ndarray) -> Limits:
    """The limits of an image: ten times the range of its middle 99 % away from that.

    A single value far outside, on either side, counts as padding however many voxels have it, as around the
    circular field of view of a CT.

    Args:
        voxels: finite real numbers of any shape.
    """
    step = max(1, voxels.size // _SAMPLE)
    sample = np.sort(voxels.ravel()[::step].astype(np.float64))
    for end in (sample[0], sample[-1]):
        rest = sample[sample != end]
        if len(rest) and not (limits := _around(rest)).low <= end <= limits.high:
            sample = rest
    return _around(sample)


def intensity_warnings(voxels: np.ndarray, channel: str) -> list[str]:
    """What may be wrong with an image's intensities, a line each.

    Args:
        voxels: (z, y, x) as its file holds it.
        channel: its name in dataset.json; one called CT is to be in Hounsfield units.
    """
    found = [outlier_warning(voxels)]
    if channel.lower() == "ct":
        found.append(hounsfield_fault(voxels))
    return [line for line in found if line is not None]


def outlier_warning(voxels: np.ndarray) -> str | None:
    """What is said of an image's outliers, with their number and values; None where there are none."""
    within = outlier_limits(voxels).within(voxels)
    if within is None:
        return None
    others, inside = voxels[~within], voxels[within]
    low, high = others.min(), others.max()
    values = f"at {low:g}" if low == high else f"between {low:g} and {high:g}"
    return (
        f"{others.size} voxels ({others.size / voxels.size:.2%}) lie {values}, far outside the others "
        f"({inside.min():g} to {inside.max():g}): padding or a reading fault; they are clipped to these"
    )


def hounsfield_fault(ct: np.ndarray) -> str | None:
    """What in a scan's intensities cannot be Hounsfield units; None where all can.

    In them air is -1000, fat -100, water 0 and bone 200 to 2000; scanners pad with values below air.

    Args:
        ct: (z, y, x) as its file holds it.
    """
    within = outlier_limits(ct).within(ct)
    usual = ct.ravel() if within is None else ct[within]
    low, high = np.percentile(usual[:: max(1, usual.size // _SAMPLE)], _PERCENTILES)
    seen = f"its intensities reach from {low:g} to {high:g}"
    expected = "in Hounsfield units air is -1000, fat -100 and bone 200 to 2000"
    if high - low < 200:
        return f"{seen}: {expected}; the scan is scaled: export it again in Hounsfield units"
    if low >= 0:
        return f"{seen}, none below 0: {expected}; an offset (often 1024) is missing: export it again"
    return None


def _around(values: np.ndarray) -> Limits:
    low, high = np.percentile(values, _PERCENTILES)
    if high == low:
        return Limits(-np.inf, np.inf)
    return Limits(low - _FAR * (high - low), high + _FAR * (high - low))
