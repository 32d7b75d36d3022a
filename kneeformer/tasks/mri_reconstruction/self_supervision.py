"""Self-supervision from undersampled files: by withheld samples, and by rescanning reconstructions.

The network predicts withheld samples (Yaman et al. 2020), weighted by their density (after Millard and Chiew
2023) and noise. The correction of magnitudes learns from noise added to missing samples. A reconstruction
that is moved and scanned again with another mask should be reconstructed unchanged: multi-operator
equivariant imaging (Wang and Davies 2025; with noise as in Chen et al. 2022).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Validation
from kneeformer.networks.ranks import pooled_mean
from kneeformer.networks.sense import Measurement, root_sum_of_squares, to_image, to_kspace
from kneeformer.tasks.mri_reconstruction.objective import CRITERIA

_LEAST_NOISE = 1e-3  # of the brightest voxel


class SelfSupervisedObjective:
    """The losses of split slabs; validation uses only that of withheld samples.

    Args:
        loss: of the second reconstruction, as in supervised training.
        equivariance: weight of that loss; 0 makes no second reconstruction.
        axes: encoded axes, counted from the end.
    """

    def __init__(self, loss: str, equivariance: float, axes: tuple[int, ...]) -> None:
        self.criterion, self.equivariance, self.axes = CRITERIA[loss], equivariance, axes

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        coil_images = network(seen_part(batch, self.axes), batch["to_patient"]).coil_images
        loss = withheld_error(coil_images, batch, self.axes)
        loss = loss + self._bias_error(network, coil_images.detach(), batch)
        if not self.equivariance:
            return loss
        return loss + self.equivariance * self._scanned_again(network, coil_images.detach(), batch)

    def _bias_error(self, network: nn.Module, coil_images: Tensor, batch: Batch) -> Tensor:
        """The loss of the correction of magnitudes alone, which errors in k-space cannot train."""
        found, noisy = magnitudes_by_noise(coil_images, batch, self.axes)
        corrected, peak = network.get_submodule("bias")(found), batch["peak"].view(-1, 1, 1, 1)
        with torch.autocast(found.device.type, enabled=False):
            return self.criterion(corrected.float() / peak, noisy / peak)

    def _scanned_again(self, network: nn.Module, coil_images: Tensor, batch: Batch) -> Tensor:
        kspace, mask = scan_moved(coil_images, batch, self.axes), batch["again"]
        operator = Measurement(kspace * mask, mask, batch["sensitivities"], self.axes)
        found, peak = network(operator, batch["to_patient"]).magnitude, batch["peak"].view(-1, 1, 1, 1)
        with torch.autocast(found.device.type, enabled=False):
            truth = root_sum_of_squares(to_image(kspace, self.axes))
            return self.criterion(found.float() / peak, truth / peak)

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        losses, shares = [], []
        for batch in batches:
            coil_images = network(seen_part(batch, self.axes), batch["to_patient"]).coil_images
            losses.append(float(withheld_error(coil_images, batch, self.axes)))
            shares.append(predicted_share(coil_images, batch, self.axes))
        share = sum(shares) / len(shares)
        error_db = 10 * math.log10(max(1 - share, 1e-12))
        return Validation(sum(losses) / len(losses), {"withheld": max(share, 0.0)}, {"withheld_dB": error_db})


def seen_part(batch: Batch, axes: tuple[int, ...]) -> Measurement:
    """The network's input: the samples that are not withheld."""
    samples = torch.where(batch["mask"], batch["samples"], 0)
    return Measurement(samples, batch["mask"], batch["sensitivities"], axes)


def withheld_error(coil_images: Tensor, batch: Batch, axes: tuple[int, ...]) -> Tensor:
    """Weighted mean of sqrt(1 + |error / noise|^2) - 1 of the withheld samples, in k-space; shape ().

    It acts as least squares for errors below the noise, and as moduli for larger ones.

    Args:
        coil_images: (batch, coils, slices, rows, columns) complex.
    """
    noise = batch["noise"].clamp(min=_LEAST_NOISE)
    with torch.autocast(coil_images.device.type, enabled=False):
        errors = _withheld(to_kspace(coil_images, axes) - batch["samples"], batch) / noise
        return pooled_mean((batch["weights"] * ((1 + _squares(errors)).sqrt() - 1)).sum(-1))


def predicted_share(coil_images: Tensor, batch: Batch, axes: tuple[int, ...]) -> float:
    """Weighted 1 - |error|^2 / |samples|^2 of the withheld samples; negative if zeros were closer."""
    errors = _withheld(to_kspace(coil_images, axes) - batch["samples"], batch)
    samples = _withheld(batch["samples"], batch)
    left, energy = ((batch["weights"] * _squares(each)).sum() for each in (errors, samples))
    return float(1 - left / energy.clamp(min=1e-20))


def magnitudes_by_noise(coil_images: Tensor, batch: Batch, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Magnitudes from measured and predicted samples, and again with noise in the predicted ones.

    The second has the noise, and so the bias, of a fully sampled scan.

    Returns:
        Each (batch, slices, rows, columns).
    """
    with torch.autocast(coil_images.device.type, enabled=False):
        measured = batch["mask"] | (batch["weights"] > 0)
        kspace = torch.where(measured, batch["samples"], to_kspace(coil_images, axes))
        noisy = kspace + batch["missing"] * batch["noise"] * _noise_of_batch(kspace, batch)
        return root_sum_of_squares(to_image(kspace, axes)), root_sum_of_squares(to_image(noisy, axes))


def scan_moved(coil_images: Tensor, batch: Batch, axes: tuple[int, ...]) -> Tensor:
    """Complete k-space of the image, flipped and shifted along the columns, with noise.

    The coils do not move, so the image lies elsewhere in their sensitivities. Each item has its own seed of
    noise. The shape is that of `coil_images`.
    """
    maps = batch["sensitivities"]
    image = (maps.conj() * coil_images).sum(1)
    moves = zip(image, batch["flip"], batch["shift"], strict=True)
    moved = [torch.roll(one.flip(-1) if flip else one, int(shift), -1) for one, flip, shift in moves]
    kspace = to_kspace(maps * torch.stack(moved).unsqueeze(1), axes)
    return kspace + batch["noise"] * _noise_of_batch(kspace, batch)


def _noise_of_batch(like: Tensor, batch: Batch) -> Tensor:
    return torch.stack([_noise(*one) for one in zip(like, batch["noise_seed"], strict=True)])


def _noise(like: Tensor, seed: Tensor) -> Tensor:
    """Complex noise of deviation 1 from the item's seed, the same for any number of ranks."""
    drawn = torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(int(seed)))
    return drawn.to(like.device)


def _withheld(samples: Tensor, batch: Batch) -> Tensor:
    return torch.where(batch["weights"] > 0, samples, 0)


def _squares(samples: Tensor) -> Tensor:
    return samples.real.square() + samples.imag.square()
