"""SSIM by its definition."""

import torch

from kneeformer.training.ssim import ssim


def test_equal_volumes_are_one() -> None:
    volume = torch.rand(2, 1, 9, 8, 7)
    assert torch.allclose(ssim(volume, volume), torch.tensor(1.0))


def test_two_constants_by_hand() -> None:
    # No variance: structure is 1, luminance (2ab + c1) / (a2 + b2 + c1) with c1 = 1e-4
    value = ssim(torch.full((1, 1, 8, 8, 8), 0.2), torch.full((1, 1, 8, 8, 8), 0.8))
    assert torch.allclose(value, torch.tensor((2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4)), atol=1e-5)


def test_symmetric_and_scaled_by_the_range() -> None:
    first, second = torch.rand(1, 2, 9, 9, 9), torch.rand(1, 2, 9, 9, 9)
    assert torch.allclose(ssim(first, second), ssim(second, first))
    assert torch.allclose(ssim(first, second), ssim(first * 100, second * 100, data_range=100), atol=1e-5)
    assert ssim(first, second) < ssim(first, 0.5 * (first + second)) < 1


def test_sides_shorter_than_the_window() -> None:
    volume = torch.rand(1, 1, 2, 4, 12)
    assert torch.allclose(ssim(volume, volume), torch.tensor(1.0))
