"""A light U-Net of slices: the denoiser of reconstructions, which a CPU trains in minutes."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LightUNet(nn.Module):
    """Residual blocks at half the resolution and below, slice by slice; its output is zero at first.

    Each 2 x 2 voxels become channels first (Shi et al. 2016): a convolution then costs a quarter and sees
    twice as far. Nothing is normalised, so the output scales with the image.

    Shapes: (batch, 2, slices, rows, columns), (batch, 3, 4) which is not used -> as the first.

    Args:
        channels: at half the resolution; each coarser scale adds half as many.
        scales: resolutions, each half of the one before.
    """

    def __init__(self, channels: int, scales: int) -> None:
        super().__init__()
        widths = [channels * (2 + scale) // 2 for scale in range(scales)]
        pairs = list(pairwise(widths))
        self.enter = nn.Conv2d(8, channels, 3, padding=1)
        self.encoders = nn.ModuleList(ResidualConvolutions(width) for width in widths)
        self.reduce = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.expand = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        self.decoders = nn.ModuleList(ResidualConvolutions(width) for width in widths[:-1])
        self.leave = begin_at_zero(nn.Conv2d(channels, 8, 3, padding=1))
        self.multiple = 2**scales

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        slices = image.transpose(1, 2).flatten(0, 1)
        rows, columns = slices.shape[2:]
        high, wide = -rows % self.multiple, -columns % self.multiple
        added = self._denoise(F.pad(slices, (0, wide, 0, high)))[..., :rows, :columns]
        return added.reshape(len(image), -1, *added.shape[1:]).transpose(1, 2)

    def _denoise(self, slices: Tensor) -> Tensor:
        shuffled = F.pixel_unshuffle(slices, 2).contiguous(memory_format=torch.channels_last)
        features, skips = self.enter(shuffled), []
        for encoder, reduce in zip(self.encoders, self.reduce, strict=False):
            features = encoder(features)
            skips.append(features)
            features = reduce(features)
        features = self.encoders[-1](features)
        for expand, decoder, skip in zip(
            reversed(self.expand), reversed(self.decoders), reversed(skips), strict=True
        ):
            features = decoder(skip + F.pixel_shuffle(expand(features), 2))
        return F.pixel_shuffle(self.leave(features), 2)


class ResidualConvolutions(nn.Module):
    """Two convolutions of 3 x 3 added to their input. Shape is kept: (batch, channels, rows, columns)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = features + self.second(F.relu(self.first(features)))
        return added


def begin_at_zero(layer: nn.Module) -> nn.Module:
    """The layer, initialised to output zeros."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
