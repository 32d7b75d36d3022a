"""Metrics of a completed bone against the whole bone: intensities, volume and surface.

Four parts are scored, the hidden one first:

===========  =================================  ==========================================================
part         voxels                             prediction
===========  =================================  ==========================================================
region       to be completed                    as it is there; the reference is pasted around it
visible      near the bone, not in the region   as it is there; the reference is pasted into the region
whole        all                                as it is
composite    all                                as it is in the region, the reference around it
===========  =================================  ==========================================================

So the figures of a part depend on what was predicted in that part alone, although windows and surfaces
reach beyond its border. "Near the bone" is the box around bone (of either) and region, grown by 8 voxels.
`whole` and `composite` hold all the air there is and flatter: the larger the field of view, the higher
their PSNR and SSIM, so that they can be compared on one scan only.

Every part has, with intensities a, b in [0, 1]:

    RMSE      root of the mean of (a - b)^2
    PSNR      -20 log10 RMSE, in dB, and 100 at most: equal volumes have 100, since infinity would swallow
              every mean, and an error of 1e-5 is below the steps of any CT
    D-SSIMw   (1 - SSIM) / 2, 0 for equal volumes, with a window of w voxels; SSIM11 is the SSIM itself
    RMSD_mm   root mean square distance of the surfaces (`mesh_distance`), at points in the part's voxels

and the region in addition, with the masks cut to it:

    Dice, HD95_mm, ASSD_mm   of `overlap` and `surface`; where the region cuts the bone, both have a surface
    BoundaryDice             Dice of the masks in those voxels of the region that are no further than 2 mm
                             (centre to centre) from a boundary voxel (`surface`) of either mask uncut

Empty cases: a part without voxels has NaN throughout. RMSD is NaN where neither surface has a point in the
part, and where both masks are empty; where exactly one is empty it is the diagonal of the image, as HD95
and ASSD are in `overlap`'s rule, which the region's masks follow. BoundaryDice follows it too, within its
voxels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d, distance_transform_edt

from kneeformer.geometry.affine import transformed
from kneeformer.geometry.boxes import bounding_box, grown, slices
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of
from kneeformer.metrics.mesh_distance import Predicate, rmsd
from kneeformer.metrics.overlap import check_masks, count, dice
from kneeformer.metrics.scores import CaseMetrics, Metrics
from kneeformer.metrics.surface_distance import diagonal_mm, surface_distances, surface_voxels

PARTS = ("region", "visible", "whole", "composite")
WINDOWS = (3, 7, 11, 15)  # voxels
BOUNDARY_MM = 2.0

_NEAR = 8  # voxels around bone and region
_DEVIATION = 1.5  # voxels, of SSIM's Gaussian window
_SAME = 1e-5  # root mean square error of volumes that count as equal: 100 dB


@dataclass(frozen=True)
class BoneVolume:
    """A bone in CT, and where it is.

    Attributes:
        ct: (z, y, x) float, scaled to [0, 1].
        mask: bool, the same shape.
    """

    ct: np.ndarray
    mask: np.ndarray

    def pasted_into(self, other: "BoneVolume", region: np.ndarray) -> "BoneVolume":
        """This bone inside the region, the other one outside."""
        return BoneVolume(np.where(region, self.ct, other.ct), np.where(region, self.mask, other.mask))


def score_completion(
    reference: BoneVolume, prediction: BoneVolume, region: np.ndarray, geometry: Grid
) -> CaseMetrics:
    """Part -> metric -> value, as the head of this file defines them, in the order of PARTS.

    Args:
        reference: the bone as it was.
        prediction: the completed bone, raw: visible voxels need not be as they were given.
        region: (z, y, x) bool, voxels to complete.
        geometry: of all of them.

    Raises:
        ValueError: shapes differ, or a mask is not boolean.
    """
    _check(reference, prediction, region, geometry)
    near = np.zeros_like(region)
    near[_grown(reference.mask | prediction.mask | region, _NEAR)] = True
    everywhere = np.ones_like(region)
    composite = prediction.pasted_into(reference, region)
    visible = reference.pasted_into(prediction, region)
    scores = {
        **_compare(reference, composite, {"region": region, "composite": everywhere}, geometry),
        **_compare(reference, visible, {"visible": near & ~region}, geometry),
        **_compare(reference, prediction, {"whole": everywhere}, geometry),
    }
    scores["region"] |= _of_masks(reference.mask, composite.mask, region, geometry)
    return {part: scores[part] for part in PARTS}


def similarity_map(first: np.ndarray, second: np.ndarray, window: int) -> np.ndarray:
    """SSIM around each voxel (Wang et al. 2004), for values in [0, 1].

    The window is a Gaussian with a deviation of 1.5 voxels, cut to `window` voxels along each axis; at the
    border the volumes are reflected. Where the volumes agree in a window it is 1 exactly, so that time and
    memory (about 40 bytes a voxel) go with the box in which they differ.

    Args:
        first, second: (z, y, x) float.
        window: width in voxels, odd.

    Returns:
        (z, y, x) float32, 1 where equal.
    """
    found = np.ones(first.shape, np.float32)
    differ = first != second
    if not differ.any():
        return found
    box = _grown(differ, 2 * (window // 2))  # in its outer half windows agree, reflected or not
    offsets = np.arange(window) - window // 2
    profile = np.exp(-0.5 * (offsets / _DEVIATION) ** 2)
    found[box] = _ssim(first[box].astype(np.float32), second[box].astype(np.float32), profile / profile.sum())
    return found


def intensity_metrics(
    reference: np.ndarray, prediction: np.ndarray, parts: Mapping[str, np.ndarray]
) -> CaseMetrics:
    """D-SSIM of all windows, SSIM11, PSNR and RMSE of each part, given by its voxels; NaN where it has none.

    Args:
        reference, prediction: (z, y, x) float in [0, 1].
        parts: (z, y, x) bool.
    """
    scores: CaseMetrics = {part: {} for part in parts}
    for window in WINDOWS:
        similarity = similarity_map(reference, prediction, window)
        for part, voxels in parts.items():
            ssim = _mean(similarity[voxels])
            scores[part][f"D-SSIM{window}"] = (1 - ssim) / 2
            if window == 11:
                scores[part]["SSIM11"] = ssim
    for part, voxels in parts.items():
        scores[part] |= _of_intensities(reference[voxels], prediction[voxels])
    return scores


def boundary_dice(
    reference: np.ndarray, prediction: np.ndarray, region: np.ndarray, spacing_mm: Sequence[float]
) -> float:
    """Dice in the voxels of the region within BOUNDARY_MM of either mask's boundary voxels, in 0..1.

    Args:
        reference, prediction, region: bool, one shape.
        spacing_mm: millimetres between voxels along each axis.

    Returns:
        NaN where neither mask has a voxel there.
    """
    surfaces = surface_voxels(reference) | surface_voxels(prediction)
    if not (surfaces.any() and region.any()):
        return math.nan
    box = _grown(region, math.ceil(BOUNDARY_MM / min(spacing_mm)))
    if not surfaces[box].any():
        return math.nan
    close = region[box] & (distance_transform_edt(~surfaces[box], spacing_mm) <= BOUNDARY_MM)
    return dice(count(reference[box] & close, prediction[box] & close))


def _check(reference: BoneVolume, prediction: BoneVolume, region: np.ndarray, geometry: Grid) -> None:
    check_masks(reference.mask, prediction.mask)
    check_masks(reference.mask, region)
    for shape in (reference.ct.shape, prediction.ct.shape, geometry.shape):
        if shape != region.shape:
            raise ValueError(f"volumes of shape {shape} and masks of shape {region.shape}")


def _compare(
    reference: BoneVolume, candidate: BoneVolume, parts: dict[str, np.ndarray], geometry: Grid
) -> CaseMetrics:
    """The metrics that every part has, of a candidate that serves these parts, given by their voxels."""
    scores = intensity_metrics(reference.ct, candidate.ct, parts)
    there, here = _surface(reference.mask, geometry), _surface(candidate.mask, geometry)
    for part, voxels in parts.items():
        scores[part]["RMSD_mm"] = _rmsd_mm(there, here, voxels, geometry)
    return scores


def _of_intensities(reference: np.ndarray, prediction: np.ndarray) -> Metrics:
    rmse = math.sqrt(_mean(np.square(np.subtract(reference, prediction, dtype=np.float64))))
    return {"PSNR": float(-20 * np.log10(np.maximum(rmse, _SAME))), "RMSE": rmse}


def _of_masks(reference: np.ndarray, prediction: np.ndarray, region: np.ndarray, geometry: Grid) -> Metrics:
    """Metrics that only the region has; NaN where it has no voxels."""
    here, there = reference & region, prediction & region
    distances = surface_distances(here, there, geometry.spacing)
    return {
        "Dice": dice(count(here, there)),
        "BoundaryDice": boundary_dice(reference, prediction, region, geometry.spacing),
        "HD95_mm": distances.hd95,
        "ASSD_mm": distances.assd,
    }


def _rmsd_mm(first: Mesh | None, second: Mesh | None, voxels: np.ndarray, geometry: Grid) -> float:
    if not voxels.any() or (first is None and second is None):
        return math.nan
    if first is None or second is None:
        return diagonal_mm(geometry.shape, geometry.spacing)
    return rmsd(first, second, within=_in_voxels(voxels, geometry))


def _surface(mask: np.ndarray, geometry: Grid) -> Mesh | None:
    return surface_of(mask, 0.5, geometry) if mask.any() else None


def _in_voxels(voxels: np.ndarray, geometry: Grid) -> Predicate:
    """Return a test for points in one of `voxels`; just outside the grid the nearest voxel decides."""
    to_index = geometry.to_index()
    last = np.array(geometry.shape) - 1

    def within(points: np.ndarray) -> np.ndarray:
        index = np.rint(transformed(points, to_index)).astype(np.int64)
        z, y, x = np.clip(index, 0, last).T
        return np.asarray(voxels[z, y, x])

    return within


def _ssim(first: np.ndarray, second: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """SSIM around each voxel, (z, y, x) float32, with a separable window; K1 0.01, K2 0.03, range 1."""

    def mean(volume: np.ndarray) -> np.ndarray:
        for axis in range(3):
            volume = correlate1d(volume, profile, axis, mode="reflect")
        return volume

    mean_first, mean_second = mean(first), mean(second)
    c1, c2 = 0.01**2, 0.03**2
    covariance = mean(first * second) - mean_first * mean_second
    variances = mean(first**2) - mean_first**2 + (mean(second**2) - mean_second**2)
    luminance = (2 * mean_first * mean_second + c1) / (mean_first**2 + mean_second**2 + c1)
    return np.asarray(luminance * (2 * covariance + c2) / (variances + c2))


def _grown(mask: np.ndarray, voxels: int) -> tuple[slice, ...]:
    """The box around a mask and some voxels more on every side; all of the grid where it is empty."""
    return slices(grown(bounding_box(mask), 3 * (voxels,), mask.shape))


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan
