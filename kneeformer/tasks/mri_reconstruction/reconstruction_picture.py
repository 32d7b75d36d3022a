"""A picture of a reconstruction: what was measured, what was made of it, and where it errs."""

from pathlib import Path

import numpy as np

from kneeformer.data.images import Image
from kneeformer.reporting.sheet import Sheet, caption, show_plane, size_mm, window_of
from kneeformer.reporting.views import View

_ERROR_SHARE = 0.2  # of the image's brightest value: white in the error map


def draw_reconstruction(
    zero_filled: np.ndarray, found: Image, reference: np.ndarray | None, picture: Path, oriented: bool
) -> None:
    """A PNG of the middle slice: zero-filled | reconstructed, and where it is known | fully sampled | error.

    Args:
        zero_filled, reference: (z, y, x) magnitudes on the grid of the reconstruction.
        oriented: the grid tells how the patient lay; else no plane and no ends are named.
    """
    view = View.of(found.grid, 0)
    middle = len(found.array) // 2
    volumes = {"zero-filled": zero_filled, "reconstructed": found.array}
    if reference is not None:
        volumes["fully sampled"] = reference
    pixels = {name: view.slices(volume)[middle] for name, volume in volumes.items()}
    panels = len(pixels) + (reference is not None)
    plane = view.plane if oriented else f"slice {middle + 1} of {len(found.array)}, as stored"
    sheet = Sheet(f"{picture.stem}, {plane}", [[size_mm(view, pixels["reconstructed"])] * panels])
    window = window_of(found.array if reference is None else reference)
    for axes, (name, shown) in zip(sheet.axes[0], pixels.items(), strict=False):
        show_plane(axes, view, shown, window, name, ends=oriented)
    if reference is not None:
        height, width = size_mm(view, pixels["reconstructed"])
        axes, error = sheet.axes[0][-1], np.abs(pixels["reconstructed"] - pixels["fully sampled"])
        extent = (0, width, height, 0)
        axes.imshow(
            error, cmap="inferno", vmin=0, vmax=_ERROR_SHARE * window[1], extent=extent, aspect="auto"
        )
        caption(axes, f"error, white: {_ERROR_SHARE:.0%} of the image's white")
    sheet.save(picture)
