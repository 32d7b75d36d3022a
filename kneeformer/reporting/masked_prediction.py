"""A picture of masked pre-training: slices of a volume, masked and predicted."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import written_whole
from kneeformer.geometry.aliases import Spacing


def draw_masked_prediction(panels: list[np.ndarray], spacing_mm: Spacing, picture: Path) -> None:
    """A PNG of three slices, columns original | masked | predicted, across the coarsest axis.

    Args:
        panels: original, masked (NaN where hidden) and predicted, each (z, y, x).
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    axis = int(np.argmax(spacing_mm))
    height, width = (mm for a, mm in enumerate(spacing_mm) if a != axis)
    volumes = [np.moveaxis(panel, axis, 0) for panel in panels]
    slices = [round(share * (len(volumes[0]) - 1)) for share in (0.25, 0.5, 0.75)]
    low, high = np.percentile(panels[0], (0.5, 99.5))
    grey = colormaps["gray"].with_extremes(bad="#24476b")
    _, rows, columns = volumes[0].shape
    figure = Figure(figsize=(9, 9 * rows * height / (columns * width)), layout="constrained")
    grid = figure.subplots(3, 3)
    for row, index in zip(grid, slices, strict=True):
        for place, volume in zip(row, volumes, strict=True):
            place.imshow(volume[index], cmap=grey, vmin=low, vmax=high, aspect=height / width)
            place.set_axis_off()
    for place, title in zip(grid[0], ("original", "masked", "predicted"), strict=True):
        place.set_title(title)
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=100)
