"""A picture of a bone's registration: its outline on the prototype, before and after."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import written_whole
from kneeformer.data.images import Image
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.reporting.pictures import upright

_PROTOTYPE, _BONE = "#2ca02c", "#d62728"


def draw_registration(
    prototype: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    spacing_mm: Spacing,
    picture: Path,
) -> None:
    """A PNG of the prototype's three middle slices: before | after, the bone in red, the prototype in green.

    Args:
        prototype: (2, z, y, x), CT in [0, 1] and signed distance in mm, along the patient's axes.
        before, after: (z, y, x) signed distance of the bone on the same grid.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    ct, surface = prototype
    grid = Grid((ct.shape[0], ct.shape[1], ct.shape[2]), spacing_mm)
    figure, axes = plt.subplots(3, 2, figsize=(6.4, 9), layout="constrained")
    for row, axis in zip(axes, range(3), strict=True):

        def oriented(volume: np.ndarray, axis: int = axis) -> tuple[np.ndarray, float]:
            slices, aspect = upright(Image(volume, grid), axis)
            return slices[len(slices) // 2], aspect

        image, aspect = oriented(ct)
        for panel, bone in zip(row, (before, after), strict=True):
            panel.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect)
            for distance, colour in ((surface, _PROTOTYPE), (bone, _BONE)):
                level = oriented(distance)[0]
                if level.min() < 0 < level.max():
                    panel.contour(level, [0.0], colors=colour, linewidths=1)
            panel.set_axis_off()
    for panel, title in zip(axes[0], ("before", "after"), strict=True):
        panel.set_title(title)
    figure.supxlabel("green: prototype, red: bone", fontsize="medium")
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=90)
    plt.close(figure)
