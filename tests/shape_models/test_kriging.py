"""Gaussian process regression: its formulas on numbers, and what they must keep."""

import math

import pytest
import torch
from torch import Tensor

from kneeformer.shape_models.kriging import Blocks, matern, regress


class Line:
    """Voxels along a line, 1 mm apart, of variance 4."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        return 4 * matern((first[:, None] - second).abs().float(), 3.0)

    def variance(self, voxels: Tensor) -> Tensor:
        return torch.full((len(voxels),), 4.0)


def test_one_support() -> None:
    """k / (k0 + noise) of the value, and k0 - k^2 / (k0 + noise)."""
    mean, variance = regress(torch.tensor([3.0]), torch.tensor([0]), torch.tensor([2]), Line(), noise=1.0)
    cross = 4 * (1 + 3**0.5 * 2 / 3) * math.exp(-(3**0.5) * 2 / 3)
    assert float(mean) == pytest.approx(3 * cross / 5, rel=1e-5)
    assert float(variance) == pytest.approx(4 - cross**2 / 5, rel=1e-4)


def test_without_noise_supports_keep_their_values_and_far_away_nothing_is_known() -> None:
    values, supports = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0, 3, 9])
    mean, variance = regress(values, supports, torch.cat([supports, torch.tensor([500])]), Line(), noise=1e-9)
    assert torch.allclose(mean, torch.tensor([1.0, -2.0, 0.5, 0.0]), atol=1e-4)
    assert torch.allclose(variance, torch.tensor([0.0, 0.0, 0.0, 4.0]), atol=1e-4)


def test_queries_are_answered_one_by_one_alike() -> None:
    values, supports, queries = torch.randn(20), torch.arange(0, 60, 3), torch.arange(9000) % 97
    mean, variance = regress(values, supports, queries, Line(), noise=0.1)
    assert len(mean) == len(variance) == 9000
    assert torch.allclose(mean[:97], mean[97 * 90 : 97 * 91], atol=1e-5)
    alone = regress(values, supports, torch.tensor([41]), Line(), noise=0.1)
    assert torch.allclose(mean[41], alone[0]) and torch.allclose(variance[41], alone[1], atol=1e-5)


@pytest.mark.parametrize(
    ("most", "blocks"),
    [(100, [[1], [3], [5], [7], [9]]), (4, [[1, 5], [3, 7], [9]]), (2, [[1, 5, 7], [3, 9]])],
)
def test_blocks_are_the_smallest_cubes_that_are_few_enough(most: int, blocks: list[list[int]]) -> None:
    """Two rows of five; cubes of edge 2 hold columns 0 and 1, 2 and 3, 4; of edge 3 0 to 2, 3 and 4."""
    odd = torch.tensor([False, True] * 5).reshape(1, 2, 5)
    found = Blocks.of(odd, most)
    assert sorted(found.voxels[found.block == n].tolist() for n in range(len(found))) == blocks


def test_means_of_blocks() -> None:
    blocks = Blocks(torch.tensor([0, 1, 3]), torch.tensor([0, 1, 1]))
    values = torch.tensor([[1.0, 2.0, torch.nan, 4.0], [0.0, 0.0, torch.nan, 1.0]])
    assert blocks.means(values).tolist() == [[1.0, 3.0], [0.0, 0.5]]


def test_nothing_seen_is_no_block() -> None:
    assert len(Blocks.of(torch.zeros(2, 2, 2, dtype=torch.bool), 3)) == 0
