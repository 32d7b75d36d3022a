"""Check of a CT's intensities: Hounsfield units, recognised by the histogram."""

import numpy as np

from kneeformer.data.outliers import count_text, evenly_sampled, outlier_limits, outlier_warnings

_NO_TISSUE = -1100  # below air: padding, -2000 or -3024 around the field of view
_SATURATED = 3071  # the highest number of most scanners
_EXPECTED = "in Hounsfield units air is -1000, fat -100 and bone 200 to 2000"


def intensity_warnings(voxels: np.ndarray, channel: str) -> list[str]:
    """Return warnings about an image's intensities, one line each.

    Args:
        voxels: (z, y, x) as its file holds it, finite.
        channel: its name in dataset.json; one called CT must be in Hounsfield units.
    """
    return [*outlier_warnings(voxels), *(ct_warnings(voxels) if channel.lower() == "ct" else [])]


def ct_warnings(ct: np.ndarray) -> list[str]:
    """Return warnings about a CT's intensities, one line each: units other than Hounsfield's, or metal.

    Args:
        ct: (z, y, x) as its file holds it, finite.
    """
    if fault := hounsfield_fault(ct):
        return [fault]
    metal = int(np.count_nonzero(ct >= _SATURATED))
    if not metal:
        return []
    return [f"{count_text(metal, ct)} are {_SATURATED} HU or more: metal, whose streaks can pass for bone"]


def hounsfield_fault(ct: np.ndarray) -> str | None:
    """Return the reason why intensities cannot be Hounsfield units; None if they can.

    Args:
        ct: (z, y, x) as its file holds it, finite.
    """
    limits, sample = outlier_limits(ct), evenly_sampled(ct)
    usual = sample[(sample >= max(limits.low, _NO_TISSUE)) & (sample <= limits.high)]
    if not usual.size:
        return f"its intensities are all below {_NO_TISSUE}: {_EXPECTED}; export it again in Hounsfield units"
    low, high = np.percentile(usual, (0.5, 99.5))
    seen = f"its intensities reach from {low:.4g} to {high:.4g}"
    if high - low < 200 or (low >= 0 and high <= 255) or high > 5000:
        return f"{seen}: {_EXPECTED}; the scan is scaled: export it again in Hounsfield units"
    if (low > -200 and _soft_tissue_lies_at_1024(usual)) or (low >= 0 and _air_lies_at_0(usual)):
        return (
            f"{seen}, air at 0 or above: {_EXPECTED}; an offset (often 1024) is missing: export it again in "
            f"Hounsfield units"
        )
    return None  # in a crop of muscle and bone only noise lies below 0


def _air_lies_at_0(values: np.ndarray) -> bool:
    return bool(np.mean(values == 0) > 0.05)


def _soft_tissue_lies_at_1024(values: np.ndarray) -> bool:
    """Most voxels that would be bone are in a narrow range around water plus 1024."""
    dense = values[values > 300]
    return dense.size > 0 and bool(np.mean((dense > 800) & (dense < 1250)) > 0.6)
