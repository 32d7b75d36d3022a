"""Convolutional autoencoders of bones, with a code at an eighth of the resolution."""

from abc import abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.blocks import ConvBlock, ResidualBlock
from kneeformer.shape_models.autoencoders import REDUCTION, Autoencoder
from kneeformer.shape_models.settings import PriorSettings

_KERNEL = (3, 3, 3)


class ConvolutionalAutoencoder(Autoencoder):
    """An encoder, a code, a decoder; no skips.

    Args:
        outputs: channels of the encoder's output.
    """

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings, outputs: int) -> None:
        super().__init__(grid, spacing, settings)
        self.code = code = settings.code
        self.encoder = ShapeEncoder(3, code.width, outputs)
        self.decoder = ShapeDecoder(code.latent_channels, code.width, grid)

    def autoencoded(self, bones: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        code, cost = self.coded(self.encoded(bones, known))
        return self.decoded(code), cost

    @abstractmethod
    def coded(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """The code (batch, latent, z / 8, y / 8, x / 8) of an encoder's output, and its cost, in training."""

    def encoded(self, bones: Tensor, known: Tensor) -> Tensor:
        """Shapes: (batch, 2, z, y, x) and (batch, z, y, x) bool -> (batch, outputs, z / 8, y / 8, x / 8)."""
        output: Tensor = self.encoder(self.shown(bones, known))
        return output

    def decoded(self, code: Tensor) -> Tensor:
        """(batch, 2, z, y, x) bones with distances in mm: the mean plus the deviations of the code."""
        return self.as_bones(self.decoder(code))


class ShapeEncoder(nn.Module):
    """Three strided convolution blocks, each with a residual block, and one more on the coarsest grid.

    Shapes: (batch, channels, z, y, x) -> (batch, outputs, z / 8, y / 8, x / 8).
    """

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [ConvBlock(before, after, _KERNEL, (2, 2, 2)), ResidualBlock(after, _KERNEL)]
        self.blocks = nn.Sequential(*blocks, ResidualBlock(widths[-1], _KERNEL))
        self.head = nn.Conv3d(widths[-1], outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels, z, y, x) -> (batch, outputs, z / 8, y / 8, x / 8)."""
        output: Tensor = self.head(self.blocks(image))
        return output


class ShapeDecoder(nn.Module):
    """The encoder mirrored: linear interpolation and a convolution instead of a stride.

    Registered bones lie alike, so the decoder learns features of each position of the coarsest grid.
    Deviations from the mean are smooth and computed at half the resolution; the last step only interpolates.
    A convolution at full resolution would take as long as all others together.

    Shapes: (batch, channels, z / 8, y / 8, x / 8) -> (batch, 2, z, y, x), 0 at first.
    """

    def __init__(self, channels: int, width: int, grid: Size) -> None:
        super().__init__()
        coarse = [n // REDUCTION for n in grid]
        self.stem = nn.Conv3d(channels, 4 * width, 1)
        self.position = nn.Parameter(torch.zeros(1, 4 * width, *coarse))
        self.coarse = nn.Sequential(*(ResidualBlock(4 * width, _KERNEL) for _ in range(2)))
        self.finer = nn.ModuleList(
            nn.Sequential(ConvBlock(2 * after, after, _KERNEL), ResidualBlock(after, _KERNEL))
            for after in (2 * width, width)
        )
        self.head = nn.Conv3d(width, 2, _KERNEL, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, code: Tensor) -> Tensor:
        """(batch, channels, z / 8, y / 8, x / 8) -> (batch, 2, z, y, x)."""
        features = self.coarse(self.stem(code) + self.position)
        for blocks in self.finer:
            features = blocks(_doubled(features))
        return _doubled(self.head(features))


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="trilinear")
