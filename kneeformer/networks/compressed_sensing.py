"""Reconstructions that learn nothing: zero-filled, and compressed sensing (Lustig et al. 2007).

They minimise 1/2 |M F S x - y|^2 + weight R(x); the step sizes follow from the operators' norms, 1 for M F S.
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from kneeformer.errors import KneeformerError
from kneeformer.networks.sense import Measurement, root_sum_of_squares
from kneeformer.networks.unrolled import Reconstruction

Solver = Callable[[Measurement, float, int], Tensor]


class ClassicalReconstruction(nn.Module):
    """A solver and its one parameter, wrapped as a network so that both kinds are used alike."""

    weight: Tensor

    def __init__(self, kind: str, weight: float, iterations: int) -> None:
        super().__init__()
        self.solve, self.iterations = SOLVERS[kind], iterations
        self.register_buffer("weight", torch.tensor(weight))

    @torch.no_grad()
    def forward(self, measured: Measurement, to_patient: Tensor) -> Reconstruction:
        """The reconstruction; to_patient is not used."""
        image = self.solve(measured, float(self.weight), self.iterations)
        coil_images = measured.consistent_coil_images(image)
        return Reconstruction(coil_images, root_sum_of_squares(coil_images))


def zero_filled(measured: Measurement, weight: float, iterations: int) -> Tensor:
    """No reconstruction: samples that were not measured stay 0 in every coil."""
    return torch.zeros_like(measured.samples[:, 0])


def total_variation(measured: Measurement, weight: float, iterations: int) -> Tensor:
    """Total variation in each slice: weight x the moduli of differences along rows and columns.

    By the primal-dual steps of Condat 2013 and Vu 2013: 1 / tau - sigma |D|^2 >= 1 / 2, where |D|^2 = 8.
    """
    tau, sigma = 1.0, 1 / 16
    image = measured.combine(measured.samples)
    dual = torch.zeros(2, *image.shape, dtype=image.dtype, device=image.device)
    for _ in range(iterations):
        after = measured.step_towards(image, tau) - tau * _backward(dual)
        dual = dual + sigma * _differences(2 * after - image)
        dual = dual * (weight / dual.abs().clamp(min=max(weight, 1e-30)))
        image = after
    return image


def wavelet(measured: Measurement, weight: float, iterations: int) -> Tensor:
    """l1 norm of the Daubechies-4 wavelet coefficients of each slice, by FISTA (Beck & Teboulle 2009)."""
    image = before = measured.combine(measured.samples)
    ahead, pace = image, 1.0
    for _ in range(iterations):
        image = shrink_wavelets(measured.step_towards(ahead), weight)
        faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = image + (pace - 1) / faster * (image - before)
        before, pace = image, faster
    return image


def shrink_wavelets(image: Tensor, threshold: float, name: str = "db4") -> Tensor:
    """Soft threshold of the detail coefficients of each slice; the coarsest approximation is kept.

    Beyond its edges a slice is zero.
    """
    pywt = _pywt()
    slices = image.cpu().numpy()
    rows, columns = slices.shape[-2:]
    coarsest, *levels = pywt.wavedec2(slices, name, "zero")
    shrunk = [tuple(pywt.threshold(c, threshold, "soft") for c in details) for details in levels]
    restored = pywt.waverec2([coarsest, *shrunk], name, "zero")[..., :rows, :columns]
    return torch.from_numpy(restored.astype(np.complex64)).to(image.device)


def _differences(image: Tensor) -> Tensor:
    """(2, ...): differences to the next row and the next column, periodic at the edges."""
    return torch.stack([image.roll(-1, -2) - image, image.roll(-1, -1) - image])


def _backward(dual: Tensor) -> Tensor:
    """Adjoint of `_differences`."""
    return dual[0].roll(1, -2) - dual[0] + dual[1].roll(1, -1) - dual[1]


def _pywt() -> ModuleType:
    try:
        import pywt
    except ImportError as fault:
        raise KneeformerError("wavelets need PyWavelets: pip install 'kneeformer[kspace]'") from fault
    module: ModuleType = pywt
    return module


SOLVERS: dict[str, Solver] = {"zero_filled": zero_filled, "tv": total_variation, "wavelet": wavelet}
