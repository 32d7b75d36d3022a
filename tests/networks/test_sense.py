"""The measurement operator: adjoint, inverse of itself where all is measured, the same as in numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kneeformer.kspace import fourier
from kneeformer.networks.sense import Measurement, root_sum_of_squares, to_image, to_kspace

SHAPE = (2, 3, 4, 6, 7)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def measurement(axes: tuple[int, ...], share: float = 0.5) -> Measurement:
    maps = noise(1, *SHAPE)
    maps = maps / root_sum_of_squares(maps).unsqueeze(1)
    mask = torch.rand(1, 1, *(n if a - 3 in axes else 1 for a, n in enumerate(SHAPE[2:]))) < share
    return Measurement(mask * noise(2, *SHAPE), mask, maps, axes)


@pytest.mark.parametrize("axes", [(-1,), (-2, -1)])
def test_combining_is_the_adjoint_of_measuring(axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    operator, image, samples = measurement(axes), noise(3, 2, 4, 6, 7), noise(4, *SHAPE)
    left = torch.vdot(samples.flatten(), operator.measure(image).flatten())
    right = torch.vdot(operator.combine(samples).flatten(), image.flatten())
    assert abs(left - right) < 1e-5 * abs(left)


@pytest.mark.parametrize("axes", [(-1,), (-2, -1)])
def test_what_is_measured_in_full_comes_back(axes: tuple[int, ...]) -> None:
    operator, image = measurement(axes, share=2), noise(5, 2, 4, 6, 7)
    assert (operator.combine(operator.measure(image)) - image).norm() < 1e-6 * image.norm()


@pytest.mark.parametrize("axes", [(-1,), (-2, -1)])
def test_the_normal_operator_is_both_in_one(axes: tuple[int, ...]) -> None:
    operator, image = measurement(axes), noise(8, 2, 4, 6, 7)
    wanted = operator.combine(operator.measure(image))
    assert (operator.normal(image) - wanted).norm() < 1e-6 * wanted.norm()


def test_hard_consistency_keeps_every_measured_sample_and_soft_goes_half_the_way() -> None:
    operator, image = measurement((-1,)), noise(6, 2, 4, 6, 7)
    before = to_kspace(operator.coil_images(image), (-1,))
    for share in (1.0, 0.5):
        after = to_kspace(operator.consistent_coil_images(image, share), (-1,))
        wanted = torch.where(operator.mask, before + share * (operator.samples - before), before)
        assert (after - wanted).abs().max() < 1e-5


def test_a_step_lessens_the_distance_to_the_samples() -> None:
    operator, image = measurement((-2, -1)), noise(7, 2, 4, 6, 7)
    before, after = (
        (operator.measure(i) - operator.samples).norm() for i in (image, operator.step_towards(image))
    )
    assert after < before


def test_conjugate_gradients_reach_the_minimum_of_both_distances() -> None:
    operator, image, trust = measurement((-1,)), noise(9, 2, 4, 6, 7), 0.3
    found = operator.nearest(image, trust, iterations=40)
    slope = operator.combine(operator.measure(found) - operator.samples) + trust * (found - image)
    assert slope.abs().max() < 1e-4
    exact = operator.measure(image)
    unchanged = Measurement(exact, operator.mask, operator.sensitivities).nearest(image, trust)
    assert torch.allclose(unchanged, image, atol=1e-5)


def test_it_is_the_transform_that_data_are_prepared_by() -> None:
    volume = noise(8, 3, 4, 5).numpy()
    for axes in ((-1,), (-2, -1)):
        ours = to_kspace(torch.from_numpy(volume), axes).numpy()
        np.testing.assert_allclose(ours, fourier.to_kspace(volume, axes), atol=1e-6)
        np.testing.assert_allclose(to_image(torch.from_numpy(ours), axes).numpy(), volume, atol=1e-6)
