"""SSIM by its definition, and as the metric of numpy arrays has it."""

import numpy as np
import pytest
import torch

from kneeformer.metrics.ssim import similarity_map
from kneeformer.networks.ssim import ssim


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


def test_within_one_voxel_it_is_that_of_the_window_around_it() -> None:
    first, second = torch.rand(2, 2, 11, 9, 10), torch.rand(2, 2, 11, 9, 10)
    within = torch.zeros(2, 1, 11, 9, 10, dtype=torch.bool)
    within[1, 0, 6, 3, 5] = True
    alone = ssim(first[1:, :, 3:10, 0:7, 2:9], second[1:, :, 3:10, 0:7, 2:9])
    assert torch.allclose(ssim(first, second, within=within), alone, atol=1e-6)


def test_within_everything_it_is_the_mean_and_nowhere_it_is_one() -> None:
    first, second = torch.rand(1, 2, 8, 9, 4), torch.rand(1, 2, 8, 9, 4)
    everywhere = torch.ones(1, 1, 8, 9, 4, dtype=torch.bool)
    assert torch.allclose(ssim(first, second, within=everywhere), ssim(first, second))
    assert ssim(first, second, within=~everywhere) == 1
    border = everywhere.clone()
    border[:, :, 3:-3, 3:-3, 1:-1] = False  # middles of no whole window: 7 voxels wide, and 3 along x
    assert ssim(first, second, within=border) == 1


@pytest.mark.parametrize("window", [7, 11])
def test_the_loss_and_the_metric_agree(window: int) -> None:
    """The loss counts whole windows alone, the metric reflects the border: they share the inner voxels."""
    rng = np.random.default_rng(3)
    first = rng.random((13, 14, 15)).astype(np.float32)
    second = (0.7 * first + 0.3 * rng.random(first.shape)).astype(np.float32)
    inner = (slice(window // 2, -(window // 2)),) * 3
    metric = similarity_map(first, second, window)[inner].mean()
    loss = ssim(*(torch.from_numpy(volume)[None, None] for volume in (first, second)), window=window)
    assert 0.5 < float(loss) < 0.99
    assert float(loss) == pytest.approx(float(metric), abs=1e-5)
