"""Volumes for the slice viewer of the report page: 8 bits per voxel, slices as tiles of a picture."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import turn
from kneeformer.reporting.report_page import data_uri
from kneeformer.reporting.views import fullest_slice

ORIENTATION = "IPL"  # of the viewer's axes: to the feet, to the back, to the patient's left
Rgb = tuple[float, float, float]

_LONGEST = 256  # voxels of an axis in the page
_QUALITY = 80  # of the scan's JPEG; labels are exact


@dataclass(frozen=True)
class Heat:
    """A map of numbers from 0 up, such as errors or uncertainties.

    Attributes:
        values: (z, y, x).
        most: value shown brightest.
        unit: of the values.
    """

    name: str
    values: np.ndarray
    most: float
    unit: str = ""


def viewer_data(
    scan: np.ndarray,
    grid: Grid,
    window: tuple[float, float],
    labels: np.ndarray | None = None,
    structures: Mapping[int, tuple[str, Rgb]] | None = None,
    heat: Heat | None = None,
) -> dict[str, Any]:
    """Return the data of the viewer, for JSON. Long axes keep every n-th voxel only.

    Args:
        scan, labels: (z, y, x) on the grid.
        window: values of black and white.
        structures: name and colour of each value of the labels.
    """
    turned = grid.turned(ORIENTATION)
    steps = [math.ceil(n / _LONGEST) for n in turned.shape]

    def stored(volume: np.ndarray) -> np.ndarray:
        return turn(volume, grid.orientation(), ORIENTATION)[:: steps[0], :: steps[1], :: steps[2]]

    grey = stored(scan).astype(np.float32) - window[0]
    numbers = np.zeros(grey.shape, np.uint8)
    named = structures or {}
    if labels is not None:
        shown = stored(labels)
        for number, value in enumerate(named, 1):
            numbers[shown == value] = number
    held = numbers if heat is None or numbers.any() else stored(heat.values) > heat.most / 2
    return {
        "shape": grey.shape,
        "spacing": [mm * step for mm, step in zip(turned.spacing, steps, strict=True)],
        "start": [fullest_slice(held.astype(np.uint8), axis) for axis in range(3)],
        "image": _tiles(_bytes(grey, window[1] - window[0]), exact=False),
        "labels": _tiles(numbers, exact=True) if named else None,
        "structures": [{"name": name, "colour": _hex(colour)} for name, colour in named.values()],
        "heat": None if heat is None else _heat(heat, stored(heat.values)),
    }


def _heat(heat: Heat, values: np.ndarray) -> dict[str, Any]:
    most = f"{heat.most:g} {heat.unit}".strip()
    return {"name": heat.name, "most": most, **_tiles(_bytes(values, heat.most), exact=False)}


def _bytes(values: np.ndarray, most: float) -> np.ndarray:
    """Scale 0 to `most` to 0 to 255."""
    return (values * (255 / most)).clip(0, 255).astype(np.uint8)


def _tiles(volume: np.ndarray, exact: bool) -> dict[str, Any]:
    """Slices across the shortest axis side by side in one picture, in rows of `across`."""
    from PIL import Image

    axis = int(np.argmin(volume.shape))
    slices = np.moveaxis(volume, axis, 0)
    count, high, wide = slices.shape
    across = math.ceil(math.sqrt(count * high / wide))
    rows = math.ceil(count / across)
    filled = np.zeros((rows * across, high, wide), np.uint8)
    filled[:count] = slices
    sheet = filled.reshape(rows, across, high, wide).swapaxes(1, 2).reshape(rows * high, across * wide)
    data = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(sheet))
    if exact:
        picture.save(data, "PNG", optimize=True)
    else:
        picture.save(data, "JPEG", quality=_QUALITY)
    return {
        "axis": axis,
        "across": across,
        "uri": data_uri(data.getvalue(), "image/png" if exact else "image/jpeg"),
    }


def _hex(colour: Rgb) -> str:
    return "#" + "".join(f"{round(255 * share):02x}" for share in colour)
