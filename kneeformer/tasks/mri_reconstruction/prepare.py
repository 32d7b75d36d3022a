"""Raw k-space prepared for networks: an image along the readout, samples along the phase encoding.

`axes` are the encoded ones, counted from the end: (-1,) the columns, or (-2, -1) rows and columns of a 3D
scan, which is cut across its readout.
"""

from dataclasses import dataclass

import numpy as np

from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.orientation import permuted
from kneeformer.kspace.coils import low_resolution
from kneeformer.kspace.fourier import centre_crop, is_3d, root_sum_of_squares, to_image, to_kspace
from kneeformer.kspace.sampling import (
    FEWEST_CENTRE_LINES,
    apparent_acceleration,
    centre_width,
    is_fully_sampled,
    measured_columns,
)
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

SIMULATED = "simulated from magnitudes"  # the remark on such data, wherever they appear


@dataclass(frozen=True)
class PreparedKSpace:
    """Samples prepared for networks.

    Attributes:
        image: (coils, slices, rows, columns) complex64, k-space along encoded axes, an image along others.
        orientation: directions of slices, rows and columns in the patient, such as "SPL".
        spacing: mm, along slices, rows and columns.
    """

    image: np.ndarray
    orientation: str
    spacing: Spacing
    labels: None = None
    warnings: tuple[str, ...] = ()


def prepare_kspace(
    scan: Scan, labels: np.ndarray | None, configuration: ReconstructionConfiguration, scheme: LabelScheme
) -> PreparedKSpace:
    """Prepare k-space, or that of magnitudes as of one coil.

    Raises:
        KneeformerError: as `encoded_along` and `from_magnitudes`; or the zero frequency was not measured, or
            slices were measured in different columns.
    """
    kspace = scan.image if np.iscomplexobj(scan.image) else from_magnitudes(scan.image)
    axes, grid, along = configuration.preprocessing.encoded, scan.grid, scan.grid.orientation()
    hybrid = hybrid_kspace(encoded_along(kspace, axes), grid.shape[1], axes)
    if not calibration_width(measured(hybrid, axes)):
        raise KneeformerError(
            "holds no samples in the middle of its k-space, where the zero frequency lies; export it again, "
            "with the zero frequency in the middle of each axis"
        )
    if np.iscomplexobj(scan.image) and -2 not in axes:
        _require_one_mask(hybrid)
    if -2 in axes:
        return PreparedKSpace(hybrid, along[1] + along[0] + along[2], permuted(grid.spacing, [1, 0, 2]))
    return PreparedKSpace(hybrid, along, grid.spacing)


def _require_one_mask(hybrid: np.ndarray) -> None:
    """Raises KneeformerError: a slice, unless empty, lacks columns of others, which would count as zeros."""
    by_slice = np.asarray(hybrid.any((0, 2)))
    every = by_slice.any(0)
    for number, there in enumerate(by_slice, 1):
        if there.any() and (there != every).any():
            raise KneeformerError(
                f"slice {number} was measured in {there.sum()} of the {every.sum()} columns of all slices; "
                f"remove it if the scan was stopped, and write slices of different masks into files of their "
                f"own"
            )


def prepare_truth(
    scan: Scan, labels: np.ndarray | None, configuration: ReconstructionConfiguration, scheme: LabelScheme
) -> PreparedKSpace:
    """As `prepare_kspace`, for a training case.

    Raises:
        KneeformerError: as `prepare_kspace`; or it is undersampled itself, and the plan learns from fully
            sampled files, or it is a 3D scan, from which no task learns.
    """
    prepared, axes = prepare_kspace(scan, labels, configuration, scheme), configuration.preprocessing.encoded
    mask = measured(prepared.image, axes)
    if is_fully_sampled(mask):
        return prepared
    found = f"undersampled {apparent_acceleration(mask):.1f}x itself"
    if mask.ndim == 2:
        raise KneeformerError(
            f"a 3D scan, {found}: a network would learn its aliases, and self-supervision is for slices "
            f"only; remove it, or use tv, which needs no training"
        )
    if configuration.self_supervision is None:
        raise KneeformerError(
            f"{found}, but the plan is for fully sampled scans: a network would learn its aliases; plan "
            f"again with kf_plan, for self-supervision, or remove it"
        )
    return prepared


def hybrid_kspace(kspace: np.ndarray, size: int, axes: tuple[int, ...]) -> np.ndarray:
    """Transform the readout of measured samples, and cut its oversampling, where the image is empty.

    Args:
        kspace: (coils, slices, rows, columns) complex, from `encoded_along`.
        size: of the image along the readout.
        axes: phase-encoded axes.
    """
    there, readout = measured_columns(kspace), 1 if -2 in axes else 2
    shape = list(kspace.shape)
    shape[readout] = size
    hybrid = np.zeros(shape, kspace.dtype)
    across = 3 - readout
    parts = (np.split(array, kspace.shape[across], across) for array in (kspace, hybrid))
    for samples, transformed in zip(*parts, strict=True):  # one at a time fits the cache
        image = np.moveaxis(to_image(samples[..., there], (readout,)), readout, 3)
        transformed[..., there] = np.moveaxis(centre_crop(image, (size,)), 3, readout)
    return hybrid


def encoded_along(kspace: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(coils, slices, rows, columns) samples along the readout and the encoded `axes` of a plan.

    The slices of a 3D scan lie across its readout. If the plan encodes two axes, image slices become
    partitions.

    Raises:
        KneeformerError: a 3D scan, and a plan of slices.
    """
    if -2 in axes:
        return across_readout(kspace[:, 0] if is_3d(kspace) else to_kspace(kspace, (1,)), axes)
    if is_3d(kspace):
        raise KneeformerError(
            "a 3D scan, phase-encoded along two axes, but the plan is for slices; make a dataset of 3D scans "
            "and plan it"
        )
    return kspace


def across_readout(volume: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(..., slices, rows, columns) with slices and rows of a 3D scan exchanged; its own inverse.

    In a plan of slices nothing changes.
    """
    return volume.swapaxes(-3, -2) if -2 in axes else volume


def from_magnitudes(image: np.ndarray) -> np.ndarray:
    """(1, slices, rows, columns) k-space of one coil, from magnitudes (1, slices, rows, columns).

    Raises:
        KneeformerError: more than one channel.
    """
    if len(image) != 1:
        raise KneeformerError(f"{len(image)} channels; k-space is simulated from one image of magnitudes")
    return to_kspace(image.astype(np.complex64), (-2, -1))


def measured(kspace: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Bool over the encoded axes: samples that are not zero in all coils and along all other axes."""
    return np.asarray(kspace.any(tuple(axis for axis in range(4) if axis - 4 not in axes)))


def as_mask(mask: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A mask over encoded axes, reshaped to multiply (coils, slices, rows, columns)."""
    return mask.reshape(1, 1, *(1,) * (2 - len(axes)), *mask.shape)


def calibration_width(mask: np.ndarray, most: int = 24) -> int:
    """Width of the fully measured centre, at most `most` samples, which gives the sensitivities."""
    if mask.ndim == 1:
        return min(most, centre_width(mask))
    middle = [mask[mask.shape[0] // 2], mask[:, mask.shape[1] // 2]]
    return min(most, *(centre_width(line) for line in middle))


def scale_of(kspace: np.ndarray, axes: tuple[int, ...]) -> float:
    """The divisor of the samples: the maximum of the image from the fewest centre lines.

    It is the same for all masks of a volume.
    """
    parts = np.split(kspace, kspace.shape[1], 1)
    small = (low_resolution(part, axes, FEWEST_CENTRE_LINES) for part in parts)
    return max(float(root_sum_of_squares(images).max()) for images in small)


def zero_filled_volume(kspace: np.ndarray, axes: tuple[int, ...], shape: Size) -> np.ndarray:
    """(slices, rows, columns) float32: root sum of squares of the measured samples, cut to the image."""
    images = to_image(kspace, axes)
    return centre_crop(root_sum_of_squares(images), shape).astype(np.float32)
