"""A picture of reconstructions: the fully sampled image, those from fewer samples, and where they err."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.reporting.sheet import Sheet, caption, show_plane, size_mm, window_of
from kneeformer.reporting.views import View

_TIMES = 5  # an error is shown as so many times brighter


def draw_reconstructions(
    found: Mapping[str, np.ndarray], grid: Grid, reference: np.ndarray | None, picture: Path, oriented: bool
) -> None:
    """A PNG of the middle slice: the fully sampled image, each reconstruction, and below them their errors.

    Without the fully sampled image there are only the reconstructions.

    Args:
        found: magnitudes by what is said of them, (z, y, x) on the grid, or the middle slice alone,
            (1, y, x); the reference as these.
        oriented: the grid tells how the patient lay; else no plane and no ends are named.
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
