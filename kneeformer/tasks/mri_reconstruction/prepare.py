"""Raw k-space as networks take it: an image along the readout, samples along the phase encoding."""

from dataclasses import dataclass

import numpy as np

from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.kspace.coils import READOUT, low_resolution
from kneeformer.kspace.fourier import centre_crop, is_3d, root_sum_of_squares, to_image, to_kspace
from kneeformer.kspace.sampling import FEWEST_CENTRE_LINES, centre_width, measured_columns
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

SIMULATED = "simulated from magnitudes"  # what is said of such data wherever they show


@dataclass(frozen=True)
class PreparedKSpace:
    """Samples as they are stored: (coils, slices, rows, columns) complex64, an image along the rows."""

    image: np.ndarray
    orientation: str
    spacing: Spacing
    labels: None = None


def prepare_kspace(
    scan: Scan, labels: np.ndarray | None, configuration: ReconstructionConfiguration, scheme: LabelScheme
) -> PreparedKSpace:
    """The samples along the phase encoding of k-space, or of the magnitudes of one coil."""
    kspace = scan.image if np.iscomplexobj(scan.image) else from_magnitudes(scan.image)
    encoded = encoded_along(kspace, configuration.preprocessing.phase_encoding_axes)
    grid = scan.grid
    return PreparedKSpace(hybrid_kspace(encoded, grid.shape[1]), grid.orientation(), grid.spacing)


def hybrid_kspace(kspace: np.ndarray, rows: int) -> np.ndarray:
    """Transform the readout of what was measured, and cut its oversampling, where the image holds nothing.

    Args:
        kspace: (coils, slices, rows, columns) complex.
        rows: of the image.
    """
    there = measured_columns(kspace)
    image = np.moveaxis(to_image(kspace[..., there], (READOUT,)), READOUT, 3)
    hybrid = np.zeros((*kspace.shape[:2], rows, kspace.shape[3]), kspace.dtype)
    hybrid[..., there] = np.moveaxis(centre_crop(image, (rows,)), 3, READOUT)
    return hybrid


def encoded_along(kspace: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(coils, slices, rows, columns) samples along the readout and the phase-encoding `axes` of a plan.

    Slices that are images become the partitions of a 3D scan, where the plan encodes them.

    Raises:
        KneeformerError: a 3D scan, and a plan of slices.
    """
    if not is_3d(kspace):
        return to_kspace(kspace, (1,)) if 0 in axes else kspace
    if 0 not in axes:
        raise KneeformerError(
            "a 3D scan, phase-encoded along two axes, and the plan is of slices; make a dataset of 3D scans, "
            "plan it, and reconstruct with its zero_filled, tv or wavelet"
        )
    return kspace[:, 0]


def from_magnitudes(image: np.ndarray) -> np.ndarray:
    """(1, slices, rows, columns) k-space of one coil that magnitudes (1, slices, rows, columns) would have.

    Raises:
        KneeformerError: more than one channel.
    """
    if len(image) != 1:
        raise KneeformerError(f"{len(image)} channels; k-space is simulated from one image of magnitudes")
    return to_kspace(image.astype(np.complex64), (-2, -1))


def encoded_axes(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Axes (0 slices, 2 columns) of a volume as axes of (coils, slices, rows, columns)."""
    return tuple(axis + 1 for axis in axes)


def measured(kspace: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Bool over the phase-encoding axes: samples that are not zero in every coil and row."""
    others = tuple(axis for axis in range(4) if axis not in encoded_axes(axes))
    return np.asarray(kspace.any(others))


def as_mask(mask: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A mask over phase-encoding axes, so shaped that it multiplies (coils, slices, rows, columns)."""
    shape = [1, 1, 1, 1]
    for axis, n in zip(encoded_axes(axes), mask.shape, strict=True):
        shape[axis] = n
    return mask.reshape(shape)


def calibration_width(mask: np.ndarray, most: int = 24) -> int:
    """Width of the fully measured centre, at most `most` samples: sensitivities come from it."""
    if mask.ndim == 1:
        return min(most, centre_width(mask))
    middle = [mask[mask.shape[0] // 2], mask[:, mask.shape[1] // 2]]
    return min(most, *(centre_width(line) for line in middle))


def scale_of(kspace: np.ndarray, axes: tuple[int, ...]) -> float:
    """The number that samples are divided by: the maximum of the image that the fewest centre lines give.

    It is the same for every mask of a volume.
    """
    parts = [kspace] if 0 in axes else np.split(kspace, kspace.shape[1], 1)
    small = (low_resolution(part, encoded_axes(axes), FEWEST_CENTRE_LINES) for part in parts)
    return max(float(root_sum_of_squares(images).max()) for images in small)


def zero_filled_volume(kspace: np.ndarray, axes: tuple[int, ...], shape: Size) -> np.ndarray:
    """(slices, rows, columns) float32: root sum of squares of what was measured, cut to the image."""
    images = to_image(kspace, encoded_axes(axes))
    return centre_crop(root_sum_of_squares(images), shape).astype(np.float32)
