"""A picture of a bone's registration: its outline on the prototype, before and after."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import written_whole
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.reporting.views import View

_PROTOTYPE, _BONE = "#2ca02c", "#d62728"


def draw_registration(
    prototype: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    spacing_mm: Spacing,
    picture: Path,
) -> None:
    """Draw a PNG of the middle slices, before | after, with the bone in red and the prototype in green.

    Args:
        prototype: (2, z, y, x), CT in [0, 1] and signed distance in mm, along the patient's axes.
        before, after: (z, y, x) signed distance of the bone on the same grid.
    """
    from matplotlib.figure import Figure

    ct, surface = prototype
    grid = Grid((ct.shape[0], ct.shape[1], ct.shape[2]), spacing_mm)
    figure = Figure(figsize=(6.4, 9), layout="constrained")
    rows = figure.subplots(3, 2)
    for axis, row in enumerate(rows):
        view = View.of(grid, axis)

        def oriented(volume: np.ndarray, view: View = view) -> np.ndarray:
            slices = view.slices(volume)
            return np.asarray(slices[len(slices) // 2])

        image = oriented(ct)
        for place, bone in zip(row, (before, after), strict=True):
            place.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=view.aspect)
            for distance, colour in ((surface, _PROTOTYPE), (bone, _BONE)):
                level = oriented(distance)
                if level.min() < 0 < level.max():
                    place.contour(level, [0.0], colors=colour, linewidths=1)
            place.set_axis_off()
    for place, title in zip(rows[0], ("before", "after"), strict=True):
        place.set_title(title)
    figure.supxlabel("green: prototype, red: bone", fontsize="medium")
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=90)
