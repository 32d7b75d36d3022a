"""The measurement of Cartesian MRI by several coils (SENSE: Pruessmann et al. 1999).

The readout is an image axis already, so that only the phase-encoding axes are transformed here.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kneeformer.networks.normal_operator import NormalOperator, normal_operator, transform


@dataclass(frozen=True)
class Measurement:
    """Samples of an image, and the linear operator M F S that measured them.

    Attributes:
        samples: (batch, coils, slices, rows, columns) complex: k-space along `axes`, an image along all
            others; 0 where nothing was measured.
        mask: bool, broadcastable to the samples: True where they were measured.
        sensitivities: complex, of the samples' shape; over the coils their squares sum to 1.
        axes: of the samples that are phase-encoded, counted from the end: (-1,), or (-2, -1) of 3D scans.
    """

    samples: Tensor
    mask: Tensor
    sensitivities: Tensor
    axes: tuple[int, ...] = (-1,)

    def measure(self, image: Tensor) -> Tensor:
        """M F S: (batch, slices, rows, columns) complex image -> samples of each coil."""
        return self.mask * to_kspace(self.coil_images(image), self.axes)

    def combine(self, samples: Tensor) -> Tensor:
        """The adjoint, S* F* M: samples of each coil -> one image (of measured samples: zero-filled)."""
        return self.combine_images(to_image(self.mask * samples, self.axes))

    def combine_images(self, coil_images: Tensor) -> Tensor:
        """S*: images of the coils -> one complex image."""
        return (self.sensitivities.conj() * coil_images).sum(1)

    def coil_images(self, image: Tensor) -> Tensor:
        """S: the image as each coil sees it."""
        return self.sensitivities * image.unsqueeze(1)

    @cached_property
    def zero_filled(self) -> Tensor:
        """The adjoint of the samples, (batch, slices, rows, columns)."""
        return self.combine(self.samples)

    def normal(self, image: Tensor) -> Tensor:
        """S* F* M F S: what `combine` makes of what `measure` gives."""
        operator = self._normal
        return operator.restored(operator(operator.arranged(image)))

    @cached_property
    def _normal(self) -> NormalOperator:
        return normal_operator(self.sensitivities, self.mask, self.axes)

    def step_towards(self, image: Tensor, share: Tensor | float = 1.0) -> Tensor:
        """The image after a gradient step on its squared distance to the samples; 1 is the longest safe."""
        return image - share * (self.normal(image) - self.zero_filled)

    def nearest(self, image: Tensor | None, trust: Tensor | float, iterations: int = 3) -> Tensor:
        """The minimum over x of |M F S x - y|^2 + trust |x - image|^2, by conjugate gradients from the image.

        Data consistency of MoDL (Aggarwal et al. 2019): a few steps remove aliasing that the coils can tell
        apart. Without an image it starts from zeros: regularised SENSE.
        """
        normal = self._normal
        residual = normal.arranged(self.zero_filled)
        if image is None:
            found = torch.zeros_like(residual)
        else:
            found = normal.arranged(image)
            residual = residual - normal(found)
        direction = residual
        energy = _inner(residual, residual)
        for _ in range(iterations):
            applied = normal(direction) + trust * direction
            length = energy / _inner(direction, applied).clamp(min=1e-20)
            found, residual = found + length * direction, residual - length * applied
            before, energy = energy, _inner(residual, residual)
            direction = residual + energy / before.clamp(min=1e-20) * direction
        return normal.restored(found)

    def consistent_coil_images(self, image: Tensor, share: Tensor | float = 1.0) -> Tensor:
        """Coil images whose k-space is moved by `share` towards the measured samples; 1 replaces it."""
        kspace = to_kspace(self.coil_images(image), self.axes)
        return to_image(kspace + share * self.mask * (self.samples - kspace), self.axes)


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Real part of the inner product of each image of a batch, (batch, 1, 1, 1)."""
    products = torch.view_as_real(one) * torch.view_as_real(other)
    return products.sum((1, 2, 3, 4)).view(-1, 1, 1, 1)


def to_kspace(image: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Centred orthonormal Fourier transform, as `kneeformer.kspace.fourier.to_kspace`."""
    shifted: Tensor = torch.fft.fftshift(transform(torch.fft.ifftshift(image, axes), axes), axes)
    return shifted


def to_image(kspace: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Inverse of `to_kspace`, and its adjoint."""
    shifted: Tensor = torch.fft.fftshift(
        transform(torch.fft.ifftshift(kspace, axes), axes, inverse=True), axes
    )
    return shifted


def root_sum_of_squares(coil_images: Tensor) -> Tensor:
    """(batch, coils, ...) complex -> (batch, ...) real; its gradient is finite at 0 too."""
    squares = coil_images.real.square() + coil_images.imag.square()
    return (squares.sum(1) + 1e-12).sqrt()
