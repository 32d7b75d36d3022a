"""Overlays: the structures of a label map as contours on the three planes of its scan."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kneeformer.data.images import Image
from kneeformer.data.terminology import colour_of
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.reporting.renders import Surface, extent_mm, render, smooth_surface
from kneeformer.reporting.sheet import INK, Colour, Sheet, caption, outline, show_plane, size_mm, window_of
from kneeformer.reporting.views import View, fullest_slice

Rgb = tuple[float, float, float]

_HUE = 0.055  # of the circle, between structures that have the same colour in Slicer
_TINT = 0.22  # opacity inside a contour
_SIDES = (("from the front", 0.0), ("from the patient's left", 90.0), ("from the back", 180.0))


def draw_overlay(
    scan: Image,
    labels: np.ndarray,
    scheme: LabelScheme,
    picture: Path,
    reference: np.ndarray | None = None,
    warnings: Sequence[str] = (),
    surfaces: bool = False,
) -> None:
    """Draw a PNG of the sagittal, coronal and axial slice that show most structure, at one scale in mm.

    Contours are tinted inside; those of the reference are dotted and white. The title is the file name.

    Args:
        labels, reference: (z, y, x) on the grid of the scan.
        surfaces: also render the structures below, which takes a second or two.
    """
    views, colours = View.all_of(scan.grid), structure_colours(scheme)
    at = [fullest_slice(labels if labels.any() or reference is None else reference, v.axis) for v in views]
    slices = [view.slices(scan.array)[i] for view, i in zip(views, at, strict=True)]
    legend: dict[str, Colour] = {**colours}
    if reference is not None:
        legend["reference (dotted)"] = INK
    rows = [[size_mm(view, pixels) for view, pixels in zip(views, slices, strict=True)]]
    shown = _surfaces(labels, scan.grid, scheme) if surfaces and labels.any() else []
    if shown:
        rows.append([extent_mm(shown, degrees) for _, degrees in _SIDES])
    sheet = Sheet(picture.stem, rows, legend, warnings)
    window = window_of(scan.array)
    for axes, view, i, pixels in zip(sheet.axes[0], views, at, slices, strict=True):
        show_plane(axes, view, pixels, window)
        height, width = size_mm(view, pixels)
        found = view.slices(labels)[i]
        tint = np.zeros((*found.shape, 4))
        for name, colour in colours.items():
            mask = scheme.structure(found, name)
            tint[mask] = (*colour, _TINT)
            outline(axes, view, mask, colour)
        axes.imshow(tint, extent=(0, width, height, 0), aspect="auto", interpolation="nearest")
        if reference is not None:
            truth = view.slices(reference)[i]
            for name in scheme.names:
                outline(axes, view, scheme.structure(truth, name), INK, "dotted")
    for axes, (text, degrees) in zip(sheet.axes[1] if shown else (), _SIDES, strict=False):
        render(axes, shown, degrees)
        caption(axes, text)
    sheet.save(picture)


def structure_colours(scheme: LabelScheme) -> dict[str, Rgb]:
    """Colours of structures as in 3D Slicer; equal colours are shifted in hue."""
    found: dict[str, Rgb] = {}
    taken: list[Rgb] = []
    for number, name in enumerate(scheme.names):
        colour = colour_of(name, number)
        hue, light, saturation = colorsys.rgb_to_hls(*colour)
        shift = _HUE * taken.count(colour)
        found[name] = colorsys.hls_to_rgb((hue - shift) % 1, light, saturation)
        taken.append(colour)
    return found


def _surfaces(labels: np.ndarray, grid: Grid, scheme: LabelScheme) -> list[Surface]:
    """Surfaces of the structures that are not empty."""
    masks = {name: scheme.structure(labels, name) for name in scheme.names}
    colours = structure_colours(scheme)
    return [
        Surface(smooth_surface(mask, grid), np.array(colours[name]))
        for name, mask in masks.items()
        if mask.any()
    ]
