"""The normal operator S* F* M F S of a measurement, for images arranged to make it fast."""

from typing import Protocol

import torch
from torch import Tensor

_RADIX = 13  # the largest prime with code of its own in libraries of fast Fourier transforms
_EDGE = 48  # largest side of a matrix: larger products take longer than the transform


class NormalOperator(Protocol):
    """S* F* M F S, of images in an arrangement of its own."""

    def arranged(self, image: Tensor) -> Tensor:
        """(batch, slices, rows, columns) complex -> the same image, arranged."""

    def restored(self, arranged: Tensor) -> Tensor:
        """The inverse of `arranged`."""

    def __call__(self, image: Tensor) -> Tensor:
        """Apply it to an arranged image."""


class ByTransforms:
    """By Fourier transforms. An arranged image has the middle of each encoded axis first: no coil is shifted.

    Args:
        sensitivities: (batch, coils, slices, rows, columns) complex; the mask broadcastable to them.
        axes: the encoded ones, counted from the end.
    """

    def __init__(self, sensitivities: Tensor, mask: Tensor, axes: tuple[int, ...]) -> None:
        self.axes = axes
        self.sensitivities, self.mask = self.arranged(sensitivities), self.arranged(mask)
        self.conjugate = self.sensitivities.conj().resolve_conj()

    def arranged(self, image: Tensor) -> Tensor:
        shifted: Tensor = torch.fft.ifftshift(image, self.axes)
        return shifted

    def restored(self, arranged: Tensor) -> Tensor:
        shifted: Tensor = torch.fft.fftshift(arranged, self.axes)
        return shifted

    def __call__(self, image: Tensor) -> Tensor:
        """(batch, slices, ...) arranged -> the same."""
        kspace = transform(self.sensitivities * image.unsqueeze(1), self.axes).mul_(self.mask)
        combined: Tensor = transform(kspace, self.axes, inverse=True).mul_(self.conjugate).sum(1)
        return combined


class ByProducts:
    """By matrix products, for encoded columns whose number has a large prime factor, such as 368 = 16 x 23.

    Along the columns F* M F is a circular convolution. Columns in the order of their remainders make it one
    along two axes of 16 and 23 (Good 1958): a Fourier transform of the first, as a matrix, leaves a matrix of
    23 x 23 for each frequency. An arranged image is (batch, slices, columns, rows).

    Args:
        sensitivities, mask: as above, the same mask for all coils, slices and rows.
        factors: of the number of columns, without a common divisor.
    """

    def __init__(self, sensitivities: Tensor, mask: Tensor, factors: tuple[int, int]) -> None:
        a, b = self.factors = factors
        columns = torch.arange(a * b, device=mask.device)
        remainders = columns % a * b + columns % b  # where each column goes, counted from the middle one
        self.place = torch.roll(remainders, a * b // 2)
        self.order = self.place.argsort()
        self.sensitivities = self.arranged(sensitivities)
        self.conjugate = self.sensitivities.conj().resolve_conj()
        self.forward = transform(torch.eye(a, dtype=sensitivities.dtype, device=mask.device), (0,))
        self.inverse = self.forward.conj().resolve_conj()
        lines = torch.fft.ifft(torch.fft.ifftshift(mask[:, :, 0, 0], -1).to(sensitivities.dtype), dim=-1)
        kernel = torch.fft.fft(lines[..., remainders.argsort()].view(*lines.shape[:-1], a, b), dim=-2)
        steps = torch.arange(b, device=mask.device)
        self.blocks = kernel[..., (steps[:, None] - steps) % b].unsqueeze(2)  # (batch, 1, 1, a, b, b)

    def arranged(self, image: Tensor) -> Tensor:
        return image.transpose(-1, -2).index_select(-2, self.order)

    def restored(self, arranged: Tensor) -> Tensor:
        return arranged.index_select(-2, self.place).transpose(-1, -2).contiguous()

    def __call__(self, image: Tensor) -> Tensor:
        """(batch, slices, columns, rows) arranged -> the same."""
        coil_images = self.sensitivities * image.unsqueeze(1)
        seen = coil_images.view(*coil_images.shape[:3], *self.factors, -1)
        halfway = torch.matmul(self.blocks, self._along_first(self.forward, seen))
        back = self._along_first(self.inverse, halfway).flatten(-3, -2)
        combined: Tensor = back.mul_(self.conjugate).sum(1)
        return combined

    def _along_first(self, matrix: Tensor, image: Tensor) -> Tensor:
        """Product of (a, a) with (..., a, b, rows) along a."""
        return torch.matmul(matrix, image.flatten(-2)).view(image.shape)


def normal_operator(sensitivities: Tensor, mask: Tensor, axes: tuple[int, ...]) -> NormalOperator:
    """The faster of the two; on a GPU always by transforms."""
    factors = coprime_factors(mask.shape[-1])
    one_for_all = mask.shape[2:4] == (1, 1)
    if axes == (-1,) and one_for_all and factors is not None and sensitivities.device.type == "cpu":
        return ByProducts(sensitivities, mask, factors)
    return ByTransforms(sensitivities, mask, axes)


def coprime_factors(columns: int) -> tuple[int, int] | None:
    """Columns as a product of coprime factors, the second a prime too large for a fast Fourier transform.

    None where there is no such prime, or a factor is large.
    """
    prime, rest = 1, columns
    for divisor in range(2, columns + 1):
        while rest % divisor == 0:
            prime, rest = divisor, rest // divisor
    others = columns // prime
    return (others, prime) if _RADIX < prime <= _EDGE and others <= _EDGE and others % prime else None


def transform(image: Tensor, axes: tuple[int, ...], inverse: bool = False) -> Tensor:
    """Orthonormal Fourier transform, the first sample the zero frequency, or its inverse."""
    if len(axes) == 1:  # a quarter faster than fftn
        one = torch.fft.ifft if inverse else torch.fft.fft
        found: Tensor = one(image, dim=axes[0], norm="ortho")
        return found
    several = torch.fft.ifftn if inverse else torch.fft.fftn
    found = several(image, dim=axes, norm="ortho")
    return found
