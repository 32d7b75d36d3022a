"""One case from its native grid to the network's, and back: turn, crop, normalise, resample."""

import math
from dataclasses import dataclass

import numpy as np

from kneeformer.config import PreprocessingSettings
from kneeformer.config.settings import by
from kneeformer.data.outliers import filled_box
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.boxes import Box, box_shape, paste, slices, whole_box
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import orientation_for, turn
from kneeformer.geometry.resampling import new_shape, resampled_spacing
from kneeformer.planning.budget import machine_memory_gb
from kneeformer.transforms.normalise import normalise
from kneeformer.transforms.resample import resample_image, resample_labels

_COPIES = 4  # at least so many float32 copies of an image are needed to prepare it


@dataclass(frozen=True)
class Prepared:
    """A case on the network's grid.

    Attributes:
        image: (channels, z, y, x) float32.
        labels: (z, y, x), dtype of the label file, or None.
        grid: the native grid in the orientation of the network's.
        box: part of that grid which was kept, first and last-plus-one voxel along (z, y, x).
        file_orientation: orientation of the file.
    """

    image: np.ndarray
    labels: np.ndarray | None
    grid: Grid
    box: Box
    file_orientation: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: it is checked as it is read."""
        return ()

    @property
    def orientation(self) -> str:
        return self.grid.orientation()

    @property
    def spacing(self) -> Spacing:
        """Spacing of the image, mm along (z, y, x)."""
        z, y, x = self.image.shape[1:]
        return self.grid.cut(self.box).resampled((z, y, x)).spacing

    @property
    def box_shape(self) -> Size:
        return box_shape(self.box)

    def on_native_grid(self, part: np.ndarray) -> np.ndarray:
        """A (..., z, y, x) part of the box's shape on the grid of the file, 0 outside the box."""
        whole = paste(part, self.box, self.grid.shape)
        return np.ascontiguousarray(turn(whole, self.grid.orientation(), self.file_orientation))


def prepare(
    image: np.ndarray, labels: np.ndarray | None, grid: Grid, settings: PreprocessingSettings
) -> Prepared:
    """Turn to the plan's orientation, crop empty borders, normalise, and resample to the plan's grid.

    Args:
        image: (channels, z, y, x) as read.
        labels: (z, y, x) on the same grid, or None.

    Raises:
        KneeformerError: at the plan's spacing it does not fit this machine's memory.
    """
    stored = grid.orientation()
    orientation = orientation_for(stored, grid.spacing, settings.orientations)
    grid = grid.turned(orientation)
    image = np.ascontiguousarray(turn(image, stored, orientation))
    labels = None if labels is None else np.ascontiguousarray(turn(labels, stored, orientation))
    box = filled_box(image, labels) if settings.crop_to_nonzero else whole_box(image.shape[1:])
    z, y, x = slices(box)
    image, labels = image[:, z, y, x], None if labels is None else labels[z, y, x]
    shape = resampled_shape(box, grid, settings)
    _refuse_too_large(len(image), shape, grid.spacing)
    image = normalise(image, settings.normalisation)
    if image.shape[1:] != shape:
        image = resample_image(image, shape, settings.thick_axis, settings.interpolation)
    if labels is not None:
        labels = resample_labels(labels, shape, settings.thick_axis)
    return Prepared(image, labels, grid, box, stored)


def _refuse_too_large(channels: int, shape: Size, spacing: Spacing) -> None:
    if _COPIES * channels * math.prod(shape) * 4 > machine_memory_gb() * 2**30:
        raise KneeformerError(
            f"its spacing of {by(spacing)} mm makes it a scan of {by(shape)} voxels, which do not fit the "
            f"memory of this machine; correct the spacing in its header, or crop the scan"
        )


def resampled_shape(box: Box, grid: Grid, settings: PreprocessingSettings) -> Size:
    """Size of a box of the native grid on the network's grid."""
    if settings.fixed_shape is not None:
        return settings.fixed_shape
    target = resampled_spacing(grid.spacing, settings.spacing, settings.thick_axis)
    return new_shape(box_shape(box), grid.spacing, target)
