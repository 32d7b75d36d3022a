"""Objective of masked pre-training: the voxels of hidden tokens, without air and padding.

Volumes are (batch, channels, z, y, x) float32, grids of tokens (batch, z, y, x) bool.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kneeformer.engine.batch import Batch
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.engine.training_run import Validation
from kneeformer.geometry.aliases import Size
from kneeformer.networks.ranks import pooled
from kneeformer.networks.ssim import ssim

_SAMPLE = 20_000  # voxels of a channel from which its range is estimated
_AIR = 0.1  # darkest part of the range
_TISSUE = 0.05  # part of a token's voxels that must be brighter than air
_FLAT = 0.01  # part of the crop's variance that is added to a token's


def hidden_voxels(batch: Batch) -> Tensor:
    """Mask of the hidden voxels that count, (batch, 1, z, y, x) bool.

    Those inside the volume, but for air: tokens of which less than a twentieth is brighter than the darkest
    tenth of the crop's range, in every channel.
    """
    image, visible = batch["image"], batch["visible"]
    low, high = intensity_range(image)
    bright = (image > low + _AIR * (high - low)).any(1, keepdim=True)
    grid = _grid(batch)
    tissue = by_token(bright.float(), grid).mean(-1)[:, 0] >= _TISSUE
    return spread(tissue & ~visible, image) & (batch["labels"] != IGNORE_INDEX).unsqueeze(1)


class MaskedVoxelObjective:
    """Error of the hidden voxels; scored by their SSIM, their PSNR logged beside it.

    The target "normalised" divides the squared error of a token by the variance of its voxels: the error
    of voxels normalised token by token (He et al. 2022), except that the network must find the token's mean
    and contrast too, so that its output is an image. "intensity" is the plain squared error.
    """

    def __init__(self, normalised: bool, with_ssim: bool) -> None:
        self.normalised, self.with_ssim = normalised, with_ssim

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self._error(_predict(network, batch), batch, hidden_voxels(batch))

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        losses, ratios, similarities = [], [], []
        for batch in batches:
            image, hidden = batch["image"], hidden_voxels(batch)
            predicted = _predict(network, batch)
            losses.append(float(self._error(predicted, batch, hidden)))
            ratios += psnr(image, predicted, hidden)
            similarities += hidden_ssim(image, predicted, hidden)
        return Validation(mean(losses), {"SSIM": mean(similarities)}, {"PSNR": mean(ratios)})

    def _error(self, predicted: Tensor, batch: Batch, hidden: Tensor) -> Tensor:
        image = batch["image"]
        squared = (predicted - image).square() * hidden
        if self.normalised:
            variance = by_token(image, _grid(batch)).var(-1, correction=0)
            floor = _FLAT * image.var((2, 3, 4), correction=0)[..., None, None, None]
            squared = squared / spread(variance.clamp(min=1e-6) + floor, image)
        error = pooled(squared.sum()) / (pooled(hidden.sum()) * image.shape[1]).clamp(min=1)
        if not self.with_ssim:
            return error
        low, high = intensity_range(image)
        completed = torch.where(hidden, predicted, image)
        return error + 1 - ssim((completed - low) / (high - low), (image - low) / (high - low), within=hidden)


def _grid(batch: Batch) -> Size:
    z, y, x = batch["visible"].shape[1:]
    return (z, y, x)


def psnr(image: Tensor, predicted: Tensor, within: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of each image of a batch, over the voxels within.

    The peak is the range of the image between its 0.5 and 99.5 percentiles, so that a single bright voxel
    does not raise it. Images without such voxels are left out.

    Args:
        image, predicted: (batch, channels, z, y, x).
        within: (batch, 1, z, y, x) bool.
    """
    low, high = intensity_range(image)
    error = ((predicted - image) / (high - low)).square()
    ratios = [
        -10 * torch.log10(e[w.expand_as(e)].mean().clamp(min=1e-10))
        for e, w in zip(error, within, strict=True)
        if w.any()
    ]
    return [float(r) for r in ratios]


def hidden_ssim(image: Tensor, predicted: Tensor, within: Tensor) -> list[float]:
    """SSIM of each image of a batch with its completion, over windows centred within; shapes as in `psnr`."""
    low, high = intensity_range(image)
    unit = (image - low) / (high - low)
    completed = torch.where(within, (predicted - low) / (high - low), unit)
    rows = zip(unit, completed, within, strict=True)
    return [float(ssim(u[None], c[None], within=w[None])) for u, c, w in rows if w.any()]


def intensity_range(image: Tensor) -> tuple[Tensor, Tensor]:
    """The 0.5 and 99.5 percentiles of each channel of each image, (batch, channels, 1, 1, 1), never equal."""
    flat = image.flatten(2).float()
    sample = flat[..., :: max(1, flat.shape[-1] // _SAMPLE)]
    low, high = torch.quantile(sample, torch.tensor([0.005, 0.995], device=image.device), -1)
    shape = (*image.shape[:2], 1, 1, 1)
    return low.view(shape), torch.maximum(high, low + 1e-6).view(shape)


def by_token(volume: Tensor, grid: Size) -> Tensor:
    """(batch, channels, z, y, x) -> (batch, channels, *grid, voxels of a token)."""
    batch, channels = volume.shape[:2]
    z, y, x = (n // g for n, g in zip(volume.shape[2:], grid, strict=True))
    cells = volume.reshape(batch, channels, grid[0], z, grid[1], y, grid[2], x)
    return cells.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5)


def spread(tokens: Tensor, image: Tensor) -> Tensor:
    """Values of tokens, (batch, [channels,] z, y, x), repeated for each of their voxels."""
    values = tokens if tokens.ndim == 5 else tokens.unsqueeze(1)
    for axis in (2, 3, 4):
        values = values.repeat_interleave(image.shape[axis] // values.shape[axis], axis)
    return values


def mean(values: list[float]) -> float:
    """Return the mean; 0 if there are no values."""
    return sum(values) / len(values) if values else 0.0


def _predict(network: nn.Module, batch: Batch) -> Tensor:
    predicted: Tensor = network(batch["image"], batch["to_patient"], batch["visible"])
    return predicted.float()
