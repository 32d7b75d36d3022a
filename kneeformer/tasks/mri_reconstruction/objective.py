"""Losses and validation of reconstructions, for magnitudes divided by the maximum of their volume."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Validation
from kneeformer.networks.ranks import pooled_mean
from kneeformer.tasks.mri_reconstruction.batches import measurement_of

Criterion = Callable[[Tensor, Tensor], Tensor]


def uniform_ssim(found: Tensor, truth: Tensor, window: int = 7) -> Tensor:
    """Mean SSIM of slices with uniform windows and a data range of 1: fastMRI's metric, differentiable.

    Args:
        found, truth: (batch, slices, rows, columns) float32, divided by the maximum of the volume.
    """
    count = window**2

    def mean(volume: Tensor) -> Tensor:
        return F.avg_pool2d(volume, window, 1)

    mean_found, mean_truth = mean(found), mean(truth)
    sample = count / (count - 1)
    variance_found = sample * (mean(found * found) - mean_found**2)
    variance_truth = sample * (mean(truth * truth) - mean_truth**2)
    covariance = sample * (mean(found * truth) - mean_found * mean_truth)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_found * mean_truth + c1) / (mean_found**2 + mean_truth**2 + c1)
    structure = (2 * covariance + c2) / (variance_found + variance_truth + c2)
    return pooled_mean(luminance * structure)


def _mse(found: Tensor, truth: Tensor) -> Tensor:
    return pooled_mean((found - truth).square())


def _l1_ssim(found: Tensor, truth: Tensor) -> Tensor:
    return pooled_mean((found - truth).abs()) + 1 - uniform_ssim(found, truth)


def _ssim_mse(found: Tensor, truth: Tensor) -> Tensor:
    return _mse(found, truth) + 1 - uniform_ssim(found, truth)


CRITERIA: dict[str, Criterion] = {"mse": _mse, "ssim_mse": _ssim_mse, "l1_ssim": _l1_ssim}


class ReconstructionObjective:
    """The loss that a plan names, and PSNR and SSIM of validation slabs."""

    def __init__(self, loss: str, axes: tuple[int, ...]) -> None:
        self.criterion, self.axes = CRITERIA[loss], axes

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self.criterion(*self._pair(network, batch))

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        losses, errors, similarities = [], [], []
        for batch in batches:
            found, truth = self._pair(network, batch)
            losses.append(float(self.criterion(found, truth)))
            errors.append(float(F.mse_loss(found, truth)))
            similarities.append(float(uniform_ssim(found, truth)))
        error = max(sum(errors) / len(errors), 1e-12)
        return Validation(
            sum(losses) / len(losses),
            {"SSIM": sum(similarities) / len(similarities)},
            {"PSNR": -10 * math.log10(error)},
        )

    def _pair(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found = network(measurement_of(batch, self.axes), batch["to_patient"]).magnitude
        peak = batch["peak"].view(-1, 1, 1, 1)
        with torch.autocast(found.device.type, enabled=False):
            return found.float() / peak, batch["target"] / peak
