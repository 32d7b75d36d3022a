"""One case from its native grid to the network's: crop, normalise, resample."""

from dataclasses import dataclass

import numpy as np

from kneeformer.data.boxes import Box, occupied_box, slices, whole_box
from kneeformer.data.geometry import Geometry
from kneeformer.plan import PreprocessingSettings
from kneeformer.preprocessing.normalise import normalise
from kneeformer.preprocessing.resample import Shape, new_shape, resample_image, resample_labels


@dataclass(frozen=True)
class Prepared:
    """A case on the network's grid.

    Attributes:
        image: (channels, z, y, x) float32.
        labels: (z, y, x), dtype of the label file, or None.
        box: where it was cut from the native grid, first and last-plus-one voxel along (z, y, x).
    """

    image: np.ndarray
    labels: np.ndarray | None
    box: Box


def prepare(
    image: np.ndarray, labels: np.ndarray | None, geometry: Geometry, settings: PreprocessingSettings
) -> Prepared:
    """Crop to what is not empty, normalise, and resample to the plan's spacing or fixed shape.

    Args:
        image: (channels, z, y, x) as read.
        labels: (z, y, x) on the same grid, or None.
    """
    box = occupied_box(image, labels) if settings.crop_to_nonzero else whole_box(image)
    cut = slices(box)
    image, labels = image[:, cut[0], cut[1], cut[2]], None if labels is None else labels[cut]
    shape = resampled_shape(box, geometry, settings)
    image = normalise(image, settings.normalisation)
    if image.shape[1:] != shape:
        image = resample_image(image, shape, settings.thick_axis, settings.interpolation)
    if labels is not None:
        labels = resample_labels(labels, shape, settings.thick_axis)
    return Prepared(image, labels, box)


def resampled_shape(box: Box, geometry: Geometry, settings: PreprocessingSettings) -> Shape:
    """Shape of a box of the native grid on the network's grid."""
    if settings.fixed_shape is not None:
        return settings.fixed_shape
    z, y, x = (last - first for first, last in box)
    return new_shape((z, y, x), geometry.spacing, settings.spacing)
