"""A picture of a completed bone: what was there, what was made of it, and how its surface looks."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from kneeformer.data.files import written_whole
from kneeformer.data.images import Image
from kneeformer.geometry.boxes import bounding_box, grown, slices
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE
from kneeformer.reporting.pictures import upright

_WINDOW_HU = (-200, 1300)
_REGION, _COMPLETED, _TRUTH = "#e6a700", "#d62728", "#2ca02c"
_MARGIN = 4  # voxels around bone and region


def draw_completion(
    ct: np.ndarray,
    mask: np.ndarray,
    completed: np.ndarray,
    grid: Grid,
    picture: Path,
    truth: np.ndarray | None = None,
) -> None:
    """A PNG of three planes through the middle of the region: before | completed | surface.

    The region is outlined in yellow, the completed bone in red, the bone as it was, where it is known, in
    green; on the surface the completed part is red.

    Args:
        ct: (z, y, x) HU.
        mask: (z, y, x), 1 bone to keep, 2 region to complete.
        completed, truth: (z, y, x), bone where not 0.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    region, bone = mask == COMPLETE, completed > 0
    held = region | bone if truth is None else region | bone | (truth > 0)
    box = slices(grown(bounding_box(held), 3 * (_MARGIN,), held.shape))
    shown = np.nonzero(region if region.any() else bone)
    middle = [round(float(at.mean())) - s.start for at, s in zip(shown, box, strict=True)]
    figure, axes = plt.subplots(3, 3, figsize=(9, 9), layout="constrained")
    for row, axis in zip(axes, range(3), strict=True):

        def oriented(volume: np.ndarray, axis: int = axis) -> tuple[np.ndarray, float]:
            return upright(Image(volume[box], grid), axis)

        (scan, aspect), index = oriented(ct), middle[axis]
        outlines = [(oriented(region)[0], _REGION)]
        if truth is not None:
            outlines.append((oriented(truth > 0)[0], _TRUTH))
        for panel, drawn in ((row[0], outlines), (row[1], [*outlines, (oriented(bone)[0], _COMPLETED)])):
            panel.imshow(scan[index], cmap="gray", vmin=_WINDOW_HU[0], vmax=_WINDOW_HU[1], aspect=aspect)
            for volume, colour in drawn:
                if volume[index].any() and not volume[index].all():
                    panel.contour(volume[index], [0.5], colors=colour, linewidths=1)
        row[2].imshow(_shaded(oriented(bone)[0], oriented(region)[0]), aspect=aspect)
        for panel in row:
            panel.set_axis_off()
    for panel, title in zip(axes[0], ("before", "completed", "surface"), strict=True):
        panel.set_title(title)
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=90)
    plt.close(figure)


def _shaded(bone: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) colours of a bone (slices, rows, columns), seen and lit along the slices."""
    smooth = ndimage.gaussian_filter(bone.astype(np.float32), 1.0) > 0.5
    hit = smooth.any(0)
    depth = np.where(hit, smooth.argmax(0), 0).astype(np.float32)
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(depth, 0.7)))
    light = np.where(hit, 0.25 + 0.75 / np.sqrt(1 + slope**2), 1.0)
    rows, columns = np.indices(hit.shape)
    made = hit & region[depth.astype(int), rows, columns]
    colour = np.where(made[..., None], (0.90, 0.35, 0.30), (0.93, 0.88, 0.78))
    return np.asarray(np.where(hit[..., None], light[..., None] * colour, 1.0))
