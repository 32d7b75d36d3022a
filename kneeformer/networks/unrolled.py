"""Unrolled reconstruction: denoisers in image space alternate with consistency with the measured samples.

After Schlemper et al. 2018 and Aggarwal et al. 2019; here the first denoiser sees far, by attention, and the
others are light. The denoisers' output is zero at first, so an untrained network is regularised SENSE.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size
from kneeformer.networks.light_unet import begin_at_zero
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.networks.sense import Measurement, root_sum_of_squares
from kneeformer.networks.visible import VisibleTokens


class Reconstruction(NamedTuple):
    """Complex images of each coil, (batch, coils, slices, rows, columns), and one magnitude without coils."""

    coil_images: Tensor
    magnitude: Tensor


class UnrolledNetwork(nn.Module):
    """Cascades of a denoiser and data consistency; at the end each coil is made consistent on its own.

    Args:
        denoisers: (batch, 2, slices, rows, columns), (batch, 3, 4) its place -> what to add, same shape.
        hard: the final consistency replaces measured samples; otherwise its share is learnt.
    """

    def __init__(self, denoisers: list[nn.Module], hard: bool) -> None:
        super().__init__()
        self.denoisers = nn.ModuleList(denoisers)
        self.log_trust = nn.Parameter(torch.full((len(denoisers) + 1,), math.log(0.1)))
        self.final = None if hard else nn.Parameter(torch.tensor(3.0))
        self.bias = RootSumOfSquaresBias()

    def forward(self, measured: Measurement, to_patient: Tensor) -> Reconstruction:
        """The reconstruction of samples scaled to about 1; to_patient (batch, 3, 4) as for the encoder."""
        first, *trust = self.log_trust.exp()
        image = measured.nearest(None, first, iterations=4)
        for denoiser, doubt in zip(self.denoisers, trust, strict=True):
            change = denoiser(as_channels(image), to_patient).float()
            image = measured.nearest(image + as_complex(change), doubt)
        share = 1.0 if self.final is None else self.final.sigmoid()
        coil_images = measured.consistent_coil_images(image, share)
        return Reconstruction(coil_images, self.bias(root_sum_of_squares(coil_images)))


class RootSumOfSquaresBias(nn.Module):
    """Corrects the magnitude for the noise that a fully sampled root sum of squares contains.

    A light convolutional network of the magnitude; it is the identity at first.
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, 1, 3, padding=1),
        )
        begin_at_zero(self.layers[-1])

    def forward(self, magnitude: Tensor) -> Tensor:
        slices = magnitude.flatten(0, 1).unsqueeze(1)
        added: Tensor = self.layers(slices).float().view_as(magnitude)
        return (magnitude + added).relu()


class TokenDenoiser(nn.Module):
    """A vision transformer as a denoiser of images of any size, which are padded to whole tokens.

    Shapes: as LightUNet; to_patient gives the transformer the image's place in the patient.
    """

    def __init__(self, transformer: nn.Module, token: Size) -> None:
        super().__init__()
        self.transformer, self.token = transformer, token

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        pairs = padding_to_tokens(image.shape[2:], self.token)
        padded = F.pad(image, [side for pair in pairs[::-1] for side in pair])
        added: Tensor = self.transformer(padded, to_patient)
        z, y, x = (slice(before, before + n) for (before, _), n in zip(pairs, image.shape[2:], strict=True))
        return added[:, :, z, y, x]


class MaskedDenoiser(nn.Module):
    """The masked autoencoder of the first denoiser; its stem and encoder have the same names there.

    Its decoder makes images, whereas a denoiser's adds to them and starts at zero: it has another name.

    Shapes: as MaskedAutoencoder.
    """

    def __init__(self, autoencoder: MaskedAutoencoder) -> None:
        super().__init__()
        autoencoder.decoder = ImageDecoder(autoencoder.decoder)
        self.denoisers = nn.ModuleList([nn.ModuleDict({"transformer": autoencoder})])

    def forward(self, image: Tensor, to_patient: Tensor, visible: Tensor) -> Tensor:
        completed: Tensor = self.get_submodule("denoisers.0.transformer")(image, to_patient, visible)
        return completed


class ImageDecoder(nn.Module):
    """A decoder with a name that no denoiser has, so that its weights are not transferred."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.of_images = decoder

    def forward(self, features: list[Tensor], tokens: VisibleTokens | None = None) -> Tensor:
        image: Tensor = self.of_images(features, tokens)
        return image


def padding_to_tokens(shape: Sequence[int], token: Size) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis to make whole tokens."""
    missing = [-n % t for n, t in zip(shape, token, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]


def as_channels(image: Tensor) -> Tensor:
    """(batch, ...) complex -> (batch, 2, ...) real and imaginary parts."""
    return torch.stack([image.real, image.imag], 1)


def as_complex(channels: Tensor) -> Tensor:
    """Inverse of `as_channels`."""
    return torch.complex(channels[:, 0], channels[:, 1])
