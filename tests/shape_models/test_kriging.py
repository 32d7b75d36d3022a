"""Gaussian process regression: its formulas on numbers, and what they must keep."""

import math

import pytest
import torch
from torch import Tensor

from kneeformer.shape_models.kriging import (
    Blocks,
    Regression,
    even_voxels_beside,
    interpolate_odd_voxels,
    matern,
)


class Line:
    """Voxels along a line, 1 mm apart, of variance 4."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        return 4 * matern((first[:, None] - second).abs().float(), 3.0)

    def variance(self, voxels: Tensor) -> Tensor:
        return torch.full((len(voxels),), 4.0)


def test_one_support() -> None:
    """k / (k0 + noise) of the value, and k0 - k^2 / (k0 + noise)."""
    one = Regression(torch.tensor([3.0]), torch.tensor([0]), Line(), noise=1.0)
    mean, variance = one.mean(torch.tensor([2])), one.variance(torch.tensor([2]))
    cross = 4 * (1 + 3**0.5 * 2 / 3) * math.exp(-(3**0.5) * 2 / 3)
    assert float(mean) == pytest.approx(3 * cross / 5, rel=1e-5)
    assert float(variance) == pytest.approx(4 - cross**2 / 5, rel=1e-4)


def test_without_noise_supports_keep_their_values_and_far_away_nothing_is_known() -> None:
    values, supports = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0, 3, 9])
    exact, queries = Regression(values, supports, Line(), noise=1e-9), torch.tensor([0, 3, 9, 500])
    assert torch.allclose(exact.mean(queries), torch.tensor([1.0, -2.0, 0.5, 0.0]), atol=1e-4)
    assert torch.allclose(exact.variance(queries), torch.tensor([0.0, 0.0, 0.0, 4.0]), atol=1e-4)


def test_queries_are_answered_one_by_one_alike() -> None:
    values, supports, queries = torch.randn(20), torch.arange(0, 60, 3), torch.arange(9000) % 97
    seen, one = Regression(values, supports, Line(), noise=0.1), torch.tensor([41])
    mean, variance = seen.mean(queries), seen.variance(queries)
    assert len(mean) == len(variance) == 9000
    assert torch.allclose(mean[:97], mean[97 * 90 : 97 * 91], atol=1e-5)
    assert torch.allclose(mean[41], seen.mean(one)) and torch.allclose(
        variance[41], seen.variance(one), atol=1e-5
    )


def test_even_voxels_beside_are_those_that_interpolation_reads() -> None:
    """Voxel (0, 1, 2) of a grid of (2, 4, 5), or (0, 3, 4): past the last even one there is none."""
    where = torch.zeros(2, 4, 5, dtype=torch.bool)
    where[0, 1, 2] = True
    assert even_voxels_beside(where).tolist() == [2, 12]
    where = torch.zeros(2, 4, 5, dtype=torch.bool)
    where[1, 3, 4] = True
    assert even_voxels_beside(where).tolist() == [14]


def test_halfway_between_voxels_of_even_place() -> None:
    volume = torch.full((2, 3, 4), torch.nan)
    volume[0, ::2, ::2] = torch.tensor([[0.0, 2.0], [4.0, 6.0]])
    wanted = torch.tensor([[0.0, 1.0, 2.0, 2.0], [2.0, 3.0, 4.0, 4.0], [4.0, 5.0, 6.0, 6.0]])
    assert torch.equal(interpolate_odd_voxels(volume), wanted.expand(2, 3, 4))


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
