"""Trained priors: autoencoders that see a part of a bone and give back the whole of it.

The tibia paper trains them robust against masks (its equation 5): with x a bone, m what is visible of it,
E and D the encoder and the decoder,

    minimise  | x - D(E(m x)) |^2  +  terms of the code

and, where everything is visible, its equation 3. The network works on deviations from the mean bone and
begins as the mean: its last convolution begins at zero.
"""

from abc import abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.networks.blocks import ConvBlock, ResidualBlock
from kneeformer.networks.pose import Size, Spacing
from kneeformer.networks.priors import ShapePrior
from kneeformer.networks.registration import DISTANCE
from kneeformer.plan import PriorSettings

REDUCTION = 8  # voxels along an axis that share a code; sides of grids are multiples of it
CLIP_MM = 20.0  # beyond, a distance says that it is far
NEAR_MM, FAR_WEIGHT = 10.0, 0.1  # voxels farther from the true surface count little
ALIKE_MM = 10.0  # an error of so many mm counts as much as one of 1 in CT
_KERNEL = (3, 3, 3)
_FOLLOWED = 0.02  # weight of a step's error in the usual one


class Autoencoder(ShapePrior):
    """An encoder, a code at an eighth of the resolution, a decoder; no skips: all goes through the code.

    Args:
        grid: multiples of 8.
        outputs: of the encoder, channels.

    Attributes:
        spread_mm: (), of the distances of bones near their mean surface: what is 1 to the network.
    """

    spread_mm: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings, outputs: int) -> None:
        super().__init__(grid, spacing, settings)
        self.code = code = settings.code
        self.register_buffer("spread_mm", torch.ones(()))
        self.encoder = ShapeEncoder(3, code.width, outputs)
        self.decoder = ShapeDecoder(code.latent_channels, code.width, grid)

    @torch.no_grad()
    def fit(self, bones: Tensor) -> None:
        """What is taken before the first step: the mean, and the spread of distances near its surface."""
        bones = clipped(bones)
        self.mean.copy_(bones.mean(0))
        self.spread_mm.copy_((bones - self.mean)[:, DISTANCE, self._telling()].std())
        self.noise_mm.copy_(self.spread_mm)

    def loss(self, bones: Tensor, known: Tensor) -> Tensor:
        """Scalar: the error of whole bones (equation 5), and what the code costs.

        The usual error, `noise_mm`, is followed on the way: that of bones it learns from, a little low.

        Args:
            bones: (batch, 2, z, y, x).
            known: (batch, z, y, x) bool; nothing else is shown to the encoder.
        """
        code, cost = self.coded(self.encoded(bones, known))
        found = self.decoded(code)
        if self.training:
            self._follow_error(found.detach(), bones)
        return reconstruction_error(found, bones, self.spread_mm) + cost

    @torch.no_grad()
    def _follow_error(self, found: Tensor, bones: Tensor) -> None:
        at_surface = bones[:, DISTANCE].abs() < max(self.spacing)
        if at_surface.any():
            error = (found - bones)[:, DISTANCE][at_surface].square().mean().sqrt()
            self.noise_mm.lerp_(error.to(self.noise_mm.dtype), _FOLLOWED)

    @abstractmethod
    def coded(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """In training: the code (batch, latent, z / 8, y / 8, x / 8) of an encoder's output, and its cost."""

    def encoded(self, bones: Tensor, known: Tensor) -> Tensor:
        """Shapes: (batch, 2, z, y, x) and (batch, z, y, x) bool -> (batch, outputs, z / 8, y / 8, x / 8)."""
        away = torch.where(known[:, None], (clipped(bones) - self.mean) / self._unit(), 0)
        output: Tensor = self.encoder(torch.cat([away, known[:, None].to(away.dtype)], 1))
        return output

    def decoded(self, code: Tensor) -> Tensor:
        """(batch, 2, z, y, x) bones, distances in mm: the mean, and how the code says they differ from it."""
        bones: Tensor = self.mean + self.decoder(code).float() * self._unit()
        return bones

    def _unit(self) -> Tensor:
        """(2, 1, 1, 1): what is 1 to the network."""
        return unit(self.spread_mm)


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
        output: Tensor = self.head(self.blocks(image))
        return output


class ShapeDecoder(nn.Module):
    """The encoder mirrored: linear interpolation and a convolution instead of a stride.

    Registered bones lie alike: the decoder learns what each place of the coarsest grid is like.

    Shapes: (batch, channels, z / 8, y / 8, x / 8) -> (batch, 2, z, y, x), 0 at first.
    """

    def __init__(self, channels: int, width: int, grid: Size) -> None:
        super().__init__()
        coarse = [n // REDUCTION for n in grid]
        self.stem = nn.Conv3d(channels, 4 * width, 1)
        self.place = nn.Parameter(torch.zeros(1, 4 * width, *coarse))
        self.coarse = nn.Sequential(*(ResidualBlock(4 * width, _KERNEL) for _ in range(2)))
        self.finer = nn.ModuleList(
            nn.Sequential(ConvBlock(2 * after, after, _KERNEL), ResidualBlock(after, _KERNEL))
            for after in (2 * width, width)
        )
        self.head = nn.Conv3d(width, 2, _KERNEL, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, code: Tensor) -> Tensor:
        features = self.coarse(self.stem(code) + self.place)
        for blocks in self.finer:
            features = blocks(_doubled(features))
        output: Tensor = self.head(_doubled(features))
        return output


def clipped(bones: Tensor) -> Tensor:
    """(batch, 2, z, y, x) with distances in mm of 20 at most."""
    ct, distance = bones.unbind(1)
    return torch.stack([ct, distance.clamp(-CLIP_MM, CLIP_MM)], 1)


def unit(spread_mm: Tensor) -> Tensor:
    """(2, 1, 1, 1): bones' usual deviation from their mean, in CT and in mm."""
    return (spread_mm / torch.tensor([ALIKE_MM, 1.0], device=spread_mm.device)).view(2, 1, 1, 1)


def reconstruction_error(found: Tensor, bones: Tensor, spread_mm: Tensor) -> Tensor:
    """Scalar: squared error of CT and of distances clipped to 20 mm, in `unit`; a weighted mean.

    A voxel within 10 mm of the true surface weighs 1, any other 0.1: 1 mm at the surface counts as an error
    of 0.1 in CT does. What is found is not clipped, or an error beyond would have no gradient.

    Args:
        found, bones: (batch, 2, z, y, x); distances in mm.
    """
    weight = torch.where(bones[:, DISTANCE].abs() < NEAR_MM, 1.0, FAR_WEIGHT)
    squared = ((found - clipped(bones)) / unit(spread_mm)).square().sum(1)
    return (weight * squared).sum() / weight.sum()


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="trilinear")
