"""A picture of a completed bone: three planes, and its surface."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from kneeformer.geometry.affine import transformed
from kneeformer.geometry.boxes import bounding_box, grown, slices
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE
from kneeformer.reporting.renders import Surface, degrees_towards, extent_mm, render, smooth_surface
from kneeformer.reporting.sheet import Sheet, caption, outline, show_plane, size_mm
from kneeformer.reporting.views import View

_WINDOW_HU = (-200, 1300)
_REGION, _COMPLETED, _TRUTH, _FRAGMENT = "#ffd23f", "#ff6b4a", "#4ade80", "#38bdf8"
_BONE_RGB, _COMPLETED_RGB = np.array([0.93, 0.88, 0.78]), np.array([1.0, 0.42, 0.29])
_MARGIN = 4  # voxels around bone and region
_EDGE = 0.2  # voxels over which the colours of bone and completed part blend
_COLOURS = "viridis"  # of uncertainty


@dataclass(frozen=True)
class CompletedBone:
    """The volumes of a completion, all (z, y, x) on one grid.

    Attributes:
        ct: HU.
        mask: 1 bone to keep, 2 region to complete, from 3 on displaced fragments.
        bone: the completed bone, not 0.
        uncertainty: standard deviation of the surface in mm, in the region; None if unknown.
        truth: the true bone, not 0; None if unknown.
        fragments: repositioned fragments, not 0; None without any.
    """

    ct: np.ndarray
    mask: np.ndarray
    bone: np.ndarray
    grid: Grid
    uncertainty: np.ndarray | None = None
    truth: np.ndarray | None = None
    fragments: np.ndarray | None = None


def draw_completion(completed: CompletedBone, picture: Path, warnings: tuple[str, ...] = ()) -> None:
    """Draw a PNG of three planes through the middle of the region, with the surface below.

    In the planes the region is yellow, the completed bone red and the true bone green; a fragment is blue
    where it belongs, dashed where it lies. On the surface the completed part is red, and in the last panel
    coloured by its uncertainty if that is known. The title is the file name.
    """
    region, bone = completed.mask >= COMPLETE, completed.bone > 0
    truth = None if completed.truth is None else completed.truth > 0
    held = region | bone if truth is None else region | bone | truth
    box = grown(bounding_box(held), 3 * (_MARGIN,), held.shape)
    cut, views = slices(box), View.all_of(completed.grid.cut(box))
    middle = [round(float(at.mean())) for at in np.nonzero((region if region.any() else bone)[cut])]
    planes = [view.slices(completed.ct[cut])[middle[view.axis]] for view in views]
    renders = _renders(completed)
    legend = {"region to complete": _REGION, "completed": _COMPLETED}
    if truth is not None:
        legend["true bone"] = _TRUTH
    if completed.fragments is not None:
        legend["fragments, dashed: in the scan"] = _FRAGMENT
    sheet = Sheet(
        picture.stem,
        [
            [size_mm(view, pixels) for view, pixels in zip(views, planes, strict=True)],
            [extent_mm([surface], degrees) for _, surface, degrees in renders],
        ],
        legend,
        warnings,
    )
    for axes, view, pixels in zip(sheet.axes[0], views, planes, strict=True):
        show_plane(axes, view, pixels, _WINDOW_HU)
        for volume, colour in ((region, _REGION), (truth, _TRUTH), (bone, _COMPLETED)):
            if volume is not None:
                outline(axes, view, view.slices(volume[cut])[middle[view.axis]], colour)
        if completed.fragments is not None:
            for volume, style in ((completed.mask > COMPLETE, "dashed"), (completed.fragments > 0, "solid")):
                outline(axes, view, view.slices(volume[cut])[middle[view.axis]], _FRAGMENT, style)
    for axes, (text, surface, degrees) in zip(sheet.axes[1], renders, strict=True):
        render(axes, [surface], degrees)
        caption(axes, text)
    sheet.save(picture)


def _renders(completed: CompletedBone) -> list[tuple[str, Surface, float]]:
    """Captions, surfaces and directions: towards the region, the opposite view, and the uncertainty."""
    mesh = smooth_surface(completed.bone > 0, completed.grid)
    at = transformed(mesh.vertices, completed.grid.to_index()).T
    share = _sampled((completed.mask >= COMPLETE).astype(np.float32), at)
    share = ((share - 0.5) / _EDGE + 0.5).clip(0, 1)[:, None]
    parts = Surface(mesh, _BONE_RGB + (_COMPLETED_RGB - _BONE_RGB) * share)
    towards = degrees_towards(mesh.vertices, share[:, 0] > 0.5)
    found = [("towards the region", parts, towards), ("opposite view", parts, towards + 180)]
    if completed.uncertainty is None:
        return [*found, ("from the patient's front", parts, 0.0)]
    from matplotlib import colormaps

    known = completed.uncertainty[completed.uncertainty > 0]
    most = float(np.ceil(np.quantile(known, 0.99))) if known.size else 1.0
    shown = colormaps[_COLOURS](_sampled(completed.uncertainty, at) / most)[:, :3]
    coloured = _BONE_RGB + (shown - _BONE_RGB) * share
    return [*found, (f"uncertainty: dark 0, bright {most:g} mm", Surface(mesh, coloured), towards)]


def _sampled(volume: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n,) values of a (z, y, x) volume at (3, n) indices, by linear interpolation."""
    return np.asarray(ndimage.map_coordinates(volume, at, order=1, mode="nearest", prefilter=False))
