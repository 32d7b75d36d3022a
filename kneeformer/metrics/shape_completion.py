"""Metrics of a completed bone against the whole bone: intensities, volume and surface.

Two regions are scored, from the completed bone inside the mask's region and the bone as it was around it:

    hidden      the voxels to complete; although windows and surfaces reach beyond its border, its figures
                depend on what was completed alone
    composite   all voxels. It holds all the air there is and flatters: the larger the field of view, the
                higher its PSNR and SSIM, so that they can be compared on one scan only

Both have the metrics of intensities, a and b in [0, 1], and the distance of the surfaces, at points in the
region's voxels. The hidden region has those of masks cut to it in addition: of `overlap` and
`surface_distance` (where the region cuts the bone, both masks have a surface there), and BoundaryDice.

Empty cases: a region without voxels has NaN throughout. RMSD is NaN where neither surface has a point in the
region, and where both masks are empty; where exactly one is empty it is the diagonal of the image, as HD95
and ASSD are in `overlap`'s rule, which the masks follow. BoundaryDice follows it too, within its voxels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from kneeformer.geometry.affine import transformed
from kneeformer.geometry.boxes import around
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of
from kneeformer.metrics.mesh_distance import Predicate, rmsd
from kneeformer.metrics.metric import BY_OVERLAP, NO_VOXELS, Metric, Values
from kneeformer.metrics.overlap import check_masks, count, dice
from kneeformer.metrics.scores import score_masks
from kneeformer.metrics.ssim import similarity_map
from kneeformer.metrics.surface_distance import diagonal_mm, surface_voxels

HIDDEN, COMPOSITE = "hidden", "composite"  # regions
WINDOWS = (3, 7, 11, 15)  # voxels
BOUNDARY_MM = 2.0

RMSD = Metric(
    name="RMSD_mm",
    meaning="root mean square distance of the two surfaces, point to triangle",
    unit="mm",
    better="lower",
    empty="undefined if no surface is in the region, the diagonal of the image if one mask is empty",
    form=".2f",
)
BOUNDARY_DICE = Metric(
    name="BoundaryDice",
    meaning="Dice of the region's voxels within 2 mm of a surface voxel of either mask uncut",
    better="higher",
    empty=BY_OVERLAP,
)
PSNR = Metric(
    name="PSNR",
    meaning="-20 log10 RMSE, 100 at most",
    unit="dB",
    better="higher",
    empty=NO_VOXELS,
    form=".1f",
)
RMSE = Metric(
    name="RMSE",
    meaning="root mean squared difference of intensities in [0, 1]",
    better="lower",
    empty=NO_VOXELS,
    form=".4f",
)
D_SSIM = {
    window: Metric(
        name=f"D-SSIM{window}",
        meaning=f"(1 - SSIM) / 2 (Wang et al. 2004), Gaussian window of {window} voxels, deviation 1.5",
        better="lower",
        empty=NO_VOXELS,
        form=".5f",
    )
    for window in WINDOWS
}

_SAME = 1e-5  # root mean square error of volumes that count as equal: 100 dB, below the steps of any CT


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
        """Return this bone inside the region, (z, y, x) bool, and the other one outside."""
        return BoneVolume(np.where(region, self.ct, other.ct), np.where(region, self.mask, other.mask))


def score_completion(
    reference: BoneVolume, prediction: BoneVolume, region: np.ndarray, grid: Grid
) -> dict[str, Values]:
    """HIDDEN and COMPOSITE -> metric -> value, as the head of this file defines them.

    Args:
        reference: the bone as it was.
        prediction: the completed bone; what it has outside the region does not matter.
        region: (z, y, x) bool, voxels to complete.
        grid: of all of them.

    Raises:
        ValueError: shapes differ, or a mask is not boolean.
    """
    _check(reference, prediction, region, grid)
    composite = prediction.pasted_into(reference, region)
    there, here = _surface(reference.mask, grid), _surface(composite.mask, grid)
    voxels = {HIDDEN: region, COMPOSITE: np.ones_like(region)}
    surfaces = {name: {RMSD: _rmsd_mm(there, here, part, grid)} for name, part in voxels.items()}
    intensities = intensity_metrics(reference.ct, composite.ct, voxels)
    masks = score_masks(reference.mask & region, composite.mask & region, grid.spacing)
    boundary = {BOUNDARY_DICE: boundary_dice(reference.mask, composite.mask, region, grid.spacing)}
    return {
        HIDDEN: {**surfaces[HIDDEN], **boundary, **masks, **intensities[HIDDEN]},
        COMPOSITE: {**surfaces[COMPOSITE], **intensities[COMPOSITE]},
    }


def intensity_metrics(
    reference: np.ndarray, prediction: np.ndarray, regions: Mapping[str, np.ndarray]
) -> dict[str, Values]:
    """PSNR, RMSE and D-SSIM of each region, given by its voxels; NaN where it has none.

    Args:
        reference, prediction: (z, y, x) float in [0, 1].
        regions: (z, y, x) bool.
    """
    ssim: dict[int, dict[str, float]] = {}
    for window in WINDOWS:
        similarity = similarity_map(reference, prediction, window)
        ssim[window] = {name: _mean(similarity[voxels]) for name, voxels in regions.items()}
    scores: dict[str, Values] = {}
    for name, voxels in regions.items():
        rmse = _rmse(reference[voxels], prediction[voxels])
        psnr = float(-20 * np.log10(np.maximum(rmse, _SAME)))
        scores[name] = {PSNR: psnr, RMSE: rmse}
        scores[name] |= {D_SSIM[window]: (1 - ssim[window][name]) / 2 for window in WINDOWS}
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
    box = around(region, math.ceil(BOUNDARY_MM / min(spacing_mm)))
    if not surfaces[box].any():
        return math.nan
    close = region[box] & (scipy.ndimage.distance_transform_edt(~surfaces[box], spacing_mm) <= BOUNDARY_MM)
    return dice(count(reference[box] & close, prediction[box] & close))


def _check(reference: BoneVolume, prediction: BoneVolume, region: np.ndarray, grid: Grid) -> None:
    check_masks(reference.mask, prediction.mask)
    check_masks(reference.mask, region)
    for shape in (reference.ct.shape, prediction.ct.shape, grid.shape):
        if shape != region.shape:
            raise ValueError(f"volumes of shape {shape} and masks of shape {region.shape}")


def _rmsd_mm(first: Mesh | None, second: Mesh | None, voxels: np.ndarray, grid: Grid) -> float:
    if not voxels.any() or (first is None and second is None):
        return math.nan
    if first is None or second is None:
        return diagonal_mm(grid.shape, grid.spacing)
    return rmsd(first, second, within=_in_voxels(voxels, grid))


def _surface(mask: np.ndarray, grid: Grid) -> Mesh | None:
    return surface_of(mask, 0.5, grid) if mask.any() else None


def _in_voxels(voxels: np.ndarray, grid: Grid) -> Predicate:
    """Return a test for points in one of `voxels`; just outside the grid the nearest voxel decides."""
    to_index = grid.to_index()
    last = np.array(grid.shape) - 1

    def within(points: np.ndarray) -> np.ndarray:
        index = np.rint(transformed(points, to_index)).astype(np.int64)
        z, y, x = np.clip(index, 0, last).T
        return np.asarray(voxels[z, y, x])

    return within


def _rmse(reference: np.ndarray, prediction: np.ndarray) -> float:
    return math.sqrt(_mean(np.square(np.subtract(reference, prediction, dtype=np.float64))))


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan
