"""Classical reconstructions: they minimise what they say, and agree with sigpy."""

from typing import Any

import numpy as np
import pytest
import torch

from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.sampling import draw_mask
from kneeformer.networks.compressed_sensing import (
    ClassicalReconstruction,
    shrink_wavelets,
    total_variation,
    wavelet,
)
from kneeformer.networks.sense import Measurement, root_sum_of_squares, to_image, to_kspace

SHAPE = (32, 32)


def measurement(acceleration: float = 3, noise: float = 0.01) -> Measurement:
    """A disc with a hole and a phase, seen by three coils, one slice."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-16:16, -16:16] / 16
    image = ((np.hypot(x, y) < 0.8) - 0.6 * (np.hypot(x - 0.2, y) < 0.3)) * np.exp(0.5j * y)
    maps = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2) for a, b in ((-1, 0), (1, 0.5), (0, -1))])
    maps = maps / np.sqrt((maps**2).sum(0))
    kspace = to_kspace(torch.from_numpy((maps * image)[:, None].astype(np.complex64)), (-1,))
    rough = rng.standard_normal((3, 1, *SHAPE)) + 1j * rng.standard_normal((3, 1, *SHAPE))
    kspace = kspace + torch.from_numpy(noise * rough.astype(np.complex64))
    mask = draw_mask("random", np.ones(32, bool), acceleration, [1])
    samples = kspace * torch.from_numpy(mask)
    found = coil_sensitivities(samples.numpy(), (-1,), 7)
    wide = torch.from_numpy(mask).view(1, 1, 1, 1, -1)
    return Measurement(samples[None], wide, torch.from_numpy(found.astype(np.complex64))[None])


def objective(operator: Measurement, image: torch.Tensor, regular: torch.Tensor) -> float:
    return float(0.5 * (operator.measure(image) - operator.samples).abs().square().sum() + regular)


def variation(image: torch.Tensor) -> torch.Tensor:
    return sum(((image.roll(-1, axis) - image).abs().sum() for axis in (-2, -1)), torch.zeros(()))


def test_zero_filling_is_the_root_sum_of_squares_of_what_was_measured() -> None:
    operator = measurement()
    found = ClassicalReconstruction("zero_filled", 0.0, 1)(operator, torch.eye(3, 4)[None])
    wanted = root_sum_of_squares(to_image(operator.samples, (-1,)))
    assert torch.allclose(found.magnitude, wanted, atol=1e-5)


def test_measured_samples_are_kept_in_every_coil() -> None:
    operator = measurement()
    for kind in ("zero_filled", "tv", "wavelet"):
        coils = ClassicalReconstruction(kind, 0.01, 5)(operator, torch.eye(3, 4)[None]).coil_images
        kept = operator.mask * to_kspace(coils, (-1,))
        assert (kept - operator.samples).abs().max() < 1e-5


def test_wavelets_give_back_the_image_and_shrink_what_is_fine() -> None:
    image = torch.randn(2, 48, 39, dtype=torch.complex64)
    assert (shrink_wavelets(image, 0.0) - image).abs().max() < 1e-5
    smooth = torch.ones(1, 64, 64, dtype=torch.complex64)
    left = shrink_wavelets(smooth, 100.0)[:, 24:40, 24:40]
    assert torch.allclose(left, torch.ones_like(left), atol=0.05)
    assert shrink_wavelets(image, 100.0).norm() < 0.5 * image.norm()


def sigpy_solution(kind: str, operator: Measurement, weight: float) -> torch.Tensor:
    """Of the same problem; sigpy transforms the readout as well, so it is transformed for it."""
    mri: Any = pytest.importorskip("sigpy.mri", reason="needs sigpy, of the test extra")
    both = to_kspace(operator.samples[0, :, 0], (-2,)).numpy()
    maps = operator.sensitivities[0, :, 0].numpy()
    weights = operator.mask[0, 0, 0].expand(*SHAPE).numpy().astype(np.float32)
    app = {"tv": mri.app.TotalVariationRecon, "wavelet": mri.app.L1WaveletRecon}[kind]
    solved = app(both, maps, weight, weights=weights, max_iter=400, show_pbar=False).run()
    return torch.from_numpy(np.asarray(solved))[None, None]


def test_total_variation_reaches_sigpys_minimum() -> None:
    operator, weight = measurement(), 0.01
    ours, theirs = total_variation(operator, weight, 400), sigpy_solution("tv", operator, weight)
    ours_value, theirs_value = (objective(operator, i, weight * variation(i)) for i in (ours, theirs))
    assert ours_value < 1.01 * theirs_value
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_wavelets_come_as_near_to_the_truth_as_sigpys() -> None:
    """Sigpy's have other boundaries, and shrink the coarsest coefficients as well."""
    operator, weight = measurement(), 0.02
    truth = measurement(acceleration=1, noise=0)
    magnitude = root_sum_of_squares(to_image(truth.samples, (-1,)))
    ours, theirs = wavelet(operator, weight, 200), sigpy_solution("wavelet", operator, weight)
    ours_error, theirs_error = ((i.abs() - magnitude).norm() for i in (ours, theirs))
    assert ours_error < 1.05 * theirs_error
