"""Reconstruction of whole volumes by networks or solvers, slab by slab."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kneeformer.geometry.orientation import crop_to_patient
from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.networks.compute import autocast, side_by_side
from kneeformer.networks.sense import Measurement
from kneeformer.tasks.mri_reconstruction.prepare import (
    PreparedKSpace,
    as_mask,
    calibration_width,
    measured,
    scale_of,
)
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

_AT_A_TIME = 8  # slabs, which take a few GB at most


def reconstruct(
    networks: Sequence[nn.Module],
    prepared: PreparedKSpace,
    configuration: ReconstructionConfiguration,
) -> tuple[np.ndarray, np.ndarray]:
    """Reconstruct a volume, as the mean of the networks; on a CPU, several slabs at a time.

    Returns:
        (slices, rows, columns) float32 magnitudes, the root sum of squares of the coils, and complex64 images
        combined by the coils' sensitivities; axes as prepared.

    Args:
        prepared: samples, zero where nothing was measured.
    """
    axes, device = configuration.preprocessing.encoded, _device(networks)
    kspace = prepared.image
    mask, scale = measured(kspace, axes), np.float32(scale_of(kspace, axes))
    slices = kspace.shape[1]
    deep = min(slices, configuration.training.crop[0])
    volume, combined = np.empty(kspace.shape[1:], np.float32), np.empty(kspace.shape[1:], np.complex64)

    def fill(first: int) -> None:
        slab = slice(first, first + deep)
        samples = kspace[:, slab] / scale
        maps = coil_sensitivities(samples, axes, calibration_width(mask))
        arrays = (samples, as_mask(mask, axes), maps)
        tensors = [torch.from_numpy(np.ascontiguousarray(array))[None].to(device) for array in arrays]
        operator = Measurement(tensors[0], tensors[1], tensors[2], axes)
        centre = np.array([((first + deep / 2) - slices / 2) * prepared.spacing[0], 0, 0])
        place = crop_to_patient(prepared.orientation, prepared.spacing, centre)
        to_patient = torch.from_numpy(place)[None].to(device)
        with torch.no_grad(), autocast(device, configuration.training.precision):
            magnitude, image = _mean(networks, operator, to_patient)
        volume[slab], combined[slab] = magnitude.cpu().numpy() * scale, image.cpu().numpy() * scale

    starts = [min(start, slices - deep) for start in range(0, slices, deep)]
    side_by_side(fill, starts, device, at_a_time=_AT_A_TIME)
    return volume, combined


def _mean(networks: Sequence[nn.Module], operator: Measurement, to_patient: Tensor) -> tuple[Tensor, Tensor]:
    """Mean magnitude and mean complex image of a slab, (slices, rows, columns), over the networks."""
    found = [network(operator, to_patient) for network in networks]
    magnitude = torch.stack([f.magnitude[0] for f in found]).mean(0).float()
    return magnitude, torch.stack([operator.combine_images(f.coil_images)[0] for f in found]).mean(0)


def _device(networks: Sequence[nn.Module]) -> torch.device:
    return next(iter((*networks[0].parameters(), *networks[0].buffers()))).device
