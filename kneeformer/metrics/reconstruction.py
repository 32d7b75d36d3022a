"""Image quality of a reconstruction, equal to fastMRI's evaluation (Zbontar et al. 2018).

All take magnitude volumes (slices, rows, columns); a volume is cut to the reconstructed matrix before.
"""

import math

import numpy as np
import scipy
import skimage

from kneeformer.metrics.metric import NO_VOXELS, Metric, Values

NMSE = Metric(
    name="NMSE",
    meaning="squared error over the squared norm of the reference",
    better="lower",
    empty=NO_VOXELS,
    form=".4f",
)
PSNR = Metric(
    name="PSNR",
    meaning="10 log10 of the squared maximum of the reference over the mean squared error",
    unit="dB",
    better="higher",
    empty=NO_VOXELS,
    form=".2f",
)
SSIM = Metric(
    name="SSIM",
    meaning="SSIM (Wang et al. 2004) slice by slice, even windows of 7 x 7 voxels",
    better="higher",
    empty=NO_VOXELS,
)

ACCELERATION = Metric(
    name="acceleration",
    meaning="columns that were acquired over those that were measured: the true one, not the nominal",
    better="higher",
    empty="undefined where CASE.json does not say it",
    form=".2f",
)


def nmse(reference: np.ndarray, found: np.ndarray, within: np.ndarray | None = None) -> float:
    """Normalised mean squared error: squared norm of the error over that of the reference.

    Args:
        reference, found: (slices, rows, columns) magnitudes, real.
        within: of the same shape, bool: the voxels that count; None counts all.
    """
    truth, error = _chosen(reference, within), _chosen(reference - found, within)
    return float(np.linalg.norm(error) ** 2 / np.linalg.norm(truth) ** 2)


def psnr(reference: np.ndarray, found: np.ndarray, within: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the maximum of the whole reference volume.

    Args:
        reference, found, within: as `nmse` takes them.

    Returns:
        Infinity where no voxel differs.
    """
    error = float(np.mean(_chosen(reference - found, within).astype(np.float64) ** 2))
    return math.inf if error == 0 else 10 * math.log10(float(reference.max()) ** 2 / error)


def ssim(reference: np.ndarray, found: np.ndarray, within: np.ndarray | None = None) -> float:
    """Structural similarity slice by slice (Wang et al. 2004), windows of 7 x 7 voxels of equal weight.

    Its range is the maximum of the whole reference volume. With `within`, the mean over windows whose middle
    is within, and over slices that have one.

    Args:
        reference, found, within: as `nmse` takes them.
    """
    peak = float(reference.max())
    maps = [
        skimage.metrics.structural_similarity(true, test, data_range=peak, full=True)
        for true, test in zip(reference, found, strict=True)
    ]
    if within is None:
        return float(np.mean([mean for mean, _ in maps]))
    inside = [m[w].mean() for (_, m), w in zip(maps, within, strict=True) if w.any()]
    return float(np.mean(inside)) if inside else math.nan


def reconstruction_metrics(
    reference: np.ndarray, found: np.ndarray, within: np.ndarray | None = None
) -> Values:
    """NMSE, PSNR (dB) and SSIM of a volume, or of its voxels `within`; NaN where there are none.

    Args:
        reference, found, within: as `nmse` takes them.
    """
    if within is not None and not within.any():
        return {NMSE: math.nan, PSNR: math.nan, SSIM: math.nan}
    return {
        SSIM: ssim(reference, found, within),
        PSNR: psnr(reference, found, within),
        NMSE: nmse(reference, found, within),
    }


def limb(reference: np.ndarray) -> np.ndarray:
    """Mark the limb, not the air around it: (slices, rows, columns) bool of magnitudes of that shape.

    What is over a tenth of the 99th percentile, closed over 5 voxels, with its holes filled slice by slice.
    """
    bright = reference > 0.1 * np.percentile(reference, 99)
    disc = np.hypot(*np.ogrid[-5:6, -5:6]) <= 5
    return np.stack(
        [
            scipy.ndimage.binary_fill_holes(scipy.ndimage.binary_closing(np.pad(s, 5), disc))[5:-5, 5:-5]
            for s in bright
        ]
    )


def _chosen(volume: np.ndarray, within: np.ndarray | None) -> np.ndarray:
    return volume if within is None else volume[within]
