"""The unrolled network: consistent with what was measured, for images of any size."""

import pytest
import torch

from kneeformer.networks.light_unet import LightUNet
from kneeformer.networks.sense import Measurement, root_sum_of_squares, to_kspace
from kneeformer.networks.unrolled import (
    RootSumOfSquaresBias,
    TokenDenoiser,
    UnrolledNetwork,
    as_channels,
    as_complex,
)

SHAPE = (2, 3, 2, 7, 9)  # odd, and no whole tokens


class Doubled(torch.nn.Module):
    def forward(self, image: torch.Tensor, to_patient: torch.Tensor) -> torch.Tensor:
        assert image.shape[3] % 4 == 0 and image.shape[4] % 4 == 0
        return 2 * image


def measurement() -> Measurement:
    torch.manual_seed(0)
    maps = torch.randn(SHAPE, dtype=torch.complex64)
    mask = torch.arange(9).remainder(2).eq(0).view(1, 1, 1, 1, 9)
    samples = mask * torch.randn(SHAPE, dtype=torch.complex64)
    return Measurement(samples, mask, maps / root_sum_of_squares(maps).unsqueeze(1))


@pytest.mark.parametrize("hard", [True, False])
def test_hard_consistency_returns_every_measured_sample(hard: bool) -> None:
    network = UnrolledNetwork([LightUNet(4, 2), LightUNet(4, 1)], hard)
    operator = measurement()
    found = network(operator, torch.eye(3, 4).repeat(2, 1, 1))
    kept = operator.mask * to_kspace(found.coil_images, (-1,))
    assert ((kept - operator.samples).abs().max() < 1e-5) == hard
    assert found.magnitude.shape == (2, 2, 7, 9) and (found.magnitude >= 0).all()
    found.magnitude.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_an_untrained_network_is_regularised_sense() -> None:
    network, operator = UnrolledNetwork([LightUNet(4, 2)], hard=True), measurement()
    image = operator.nearest(None, 0.1, iterations=4)
    image = operator.nearest(image, 0.1)
    wanted = root_sum_of_squares(operator.consistent_coil_images(image))
    assert torch.allclose(network(operator, torch.zeros(2, 3)).magnitude, wanted, atol=1e-5)


def test_tokens_are_made_whole_around_the_image_and_taken_away_again() -> None:
    image = torch.randn(1, 2, 2, 7, 9)
    assert torch.equal(TokenDenoiser(Doubled(), (1, 4, 4))(image, torch.eye(3, 4)[None]), 2 * image)


def test_a_new_bias_is_none() -> None:
    magnitude = torch.rand(1, 2, 7, 9)
    assert torch.equal(RootSumOfSquaresBias()(magnitude), magnitude)


def test_complex_images_are_two_channels() -> None:
    image = torch.randn(1, 2, 3, 4, dtype=torch.complex64)
    assert as_channels(image).shape == (1, 2, 2, 3, 4)
    assert torch.equal(as_complex(as_channels(image)), image)
