"""The light U-Net: zero at first, of images of any size, slice by slice."""

import torch

from kneeformer.networks.light_unet import LightUNet, ResidualConvolutions


def trained(channels: int = 4, scales: int = 3) -> LightUNet:
    """One whose last layer is not zero any more."""
    torch.manual_seed(0)
    network = LightUNet(channels, scales)
    torch.nn.init.normal_(network.leave.weight)
    return network


def test_it_begins_at_zero_for_images_of_any_size() -> None:
    image = torch.randn(2, 2, 3, 7, 9)
    assert torch.equal(LightUNet(4, 3)(image, torch.zeros(2, 3)), torch.zeros_like(image))


def test_slices_and_cases_know_nothing_of_each_other() -> None:
    network, image = trained(), torch.randn(2, 2, 3, 7, 9)
    together = network(image, torch.zeros(2, 3))
    alone = network(image[1:, :, 2:], torch.zeros(1, 3))
    assert torch.allclose(together[1:, :, 2:], alone, atol=1e-6) and together.abs().max() > 0


def test_channels_grow_by_half_of_the_first_at_each_scale() -> None:
    assert [block.first.in_channels for block in LightUNet(8, 3).encoders] == [8, 12, 16]


def test_residual_convolutions_add_to_their_input() -> None:
    block, features = ResidualConvolutions(3), torch.randn(1, 3, 4, 5)
    torch.nn.init.zeros_(block.second.weight)
    torch.nn.init.constant_(block.second.bias, 2.0)
    assert torch.allclose(block(features), features + 2)
