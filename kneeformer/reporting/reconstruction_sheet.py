"""A picture of reconstructions: the fully sampled image, reconstructions, and their errors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.reporting.sheet import Sheet, caption, show_plane, size_mm, window_of
from kneeformer.reporting.views import View

_TIMES = 5  # factor by which errors are brightened


def draw_reconstructions(
    found: Mapping[str, np.ndarray], grid: Grid, reference: np.ndarray | None, picture: Path, oriented: bool
) -> None:
    """Draw a PNG of the middle slice: the fully sampled image, each reconstruction, and their errors below.

    Without the fully sampled image only reconstructions are shown.

    Args:
        found: magnitudes by title: (z, y, x) on the grid, or the middle slice alone, (1, y, x).
        reference: of the same shape.
        oriented: whether the grid tells how the patient lay; otherwise no plane and no ends are named.
    """
    view = View.of(grid, 0)
    volumes = {**({} if reference is None else {"fully sampled": reference}), **found}
    pixels = {name: view.slices(volume)[len(volume) // 2] for name, volume in volumes.items()}
    size = size_mm(view, next(iter(pixels.values())))
    plane = view.plane if oriented else f"slice {grid.shape[0] // 2 + 1} of {grid.shape[0]}, as stored"
    rows = 1 if reference is None else 2
    sheet = Sheet(f"{picture.stem}, {plane}", [[size] * len(pixels)] * rows)
    window = window_of(next(iter(volumes.values())))
    for axes, (name, shown) in zip(sheet.axes[0], pixels.items(), strict=True):
        show_plane(axes, view, shown, window, name, ends=oriented)
    if reference is not None:
        height, width = size
        for axes, name in zip(sheet.axes[1][1:], found, strict=True):
            error = _TIMES * np.abs(pixels[name] - pixels["fully sampled"])
            extent = (0, width, height, 0)
            axes.imshow(error, cmap="inferno", vmin=0, vmax=window[1], extent=extent, aspect="auto")
            caption(axes, f"error x {_TIMES}")
    sheet.save(picture)
