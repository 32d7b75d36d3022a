"""Hidden tokens: exactly as many as requested, in the patterns they are named after."""

import numpy as np
import pytest
from scipy import ndimage

from kneeformer.config import MaskingSettings
from kneeformer.geometry.aliases import Size
from kneeformer.transforms.token_masking import draw_visible

KINDS = ("token", "block", "slab")
GRIDS: tuple[Size, ...] = ((4, 3, 5), (1, 7, 2), (2, 1, 1), (8, 6, 5))


def drawn(kind: str, ratio: float, grid: Size, seed: int = 0, thick_axis: int | None = None) -> np.ndarray:
    """The hidden tokens of one draw."""
    masking = MaskingSettings.model_validate({"kind": kind, "ratio": ratio})
    visible = draw_visible(np.random.default_rng(seed), grid, masking, thick_axis)
    assert visible.shape == grid and visible.dtype == bool
    return ~visible


def layers(hidden: np.ndarray, axis: int) -> np.ndarray:
    """The hidden share of each layer along an axis."""
    return hidden.mean(tuple(a for a in range(3) if a != axis))


def runs_going_round(flags: np.ndarray) -> int:
    """How often a circle of flags begins to be true."""
    return int((flags & ~np.roll(flags, 1)).sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("thick_axis", [None, 0, 2])
def test_the_hidden_share_is_met_to_the_token(
    kind: str, grid: Size, ratio: float, thick_axis: int | None
) -> None:
    count = int(np.prod(grid))
    for seed in range(5):
        hidden = drawn(kind, ratio, grid, seed, thick_axis).sum()
        assert hidden in (1, count - 1) or abs(hidden - ratio * count) <= 0.5
        assert abs(hidden - np.clip(ratio * count, 1, count - 1)) <= 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_at_least_one_token_is_hidden_and_one_visible(kind: str, grid: Size) -> None:
    assert drawn(kind, 0.0001, grid).sum() == 1
    assert (~drawn(kind, 0.9999, grid)).sum() == 1


@pytest.mark.parametrize("grid", [(6, 4, 5), (3, 1, 7), (9, 2, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.75])
def test_slabs_are_whole_layers_side_by_side_but_for_one(grid: Size, axis: int, ratio: float) -> None:
    for seed in range(10):
        hidden = drawn("slab", ratio, grid, seed, axis)
        share = layers(hidden, axis)
        size = hidden.size // grid[axis]
        assert (share == 1).sum() == hidden.sum() // size
        assert ((share > 0) & (share < 1)).sum() == (hidden.sum() % size > 0)
        assert runs_going_round(share == 1) <= 1 and runs_going_round(share > 0) <= 1


def test_slabs_go_round_the_end() -> None:
    shares = [layers(drawn("slab", 0.5, (6, 4, 5), seed, 0), 0) for seed in range(30)]
    assert {tuple(np.flatnonzero(share)) for share in shares} == {
        tuple(sorted((first + n) % 6 for n in range(3))) for first in range(6)
    }


def test_the_partial_layer_of_a_slab_is_hidden_by_chance() -> None:
    grids = [drawn("slab", 0.55, (2, 4, 5), seed, 0) for seed in range(40)]
    partial = [g[layers(g, 0) < 1][0] for g in grids]  # 22 of 40 tokens: 20 of one layer, 2 of the other
    assert {int(p.sum()) for p in partial} == {2} and len({p.tobytes() for p in partial}) > 20


def test_slabs_lie_across_any_axis_where_none_is_thick() -> None:
    found = set()
    for seed in range(30):
        hidden = drawn("slab", 0.5, (4, 4, 4), seed)
        (axis,) = (a for a in range(3) if set(layers(hidden, a)) == {0.0, 1.0})
        found.add(axis)
    assert found == {0, 1, 2}


def test_blocks_hang_together_more_than_tokens_do() -> None:
    def pieces(kind: str) -> int:
        return sum(int(ndimage.label(drawn(kind, 0.2, (8, 8, 8), seed))[1]) for seed in range(20))

    assert pieces("block") < 0.2 * pieces("token")


def test_tokens_are_independent_of_their_neighbours() -> None:
    both = [
        np.mean(h[:, :, 1:] & h[:, :, :-1]) for h in (drawn("token", 0.5, (6, 6, 6), s) for s in range(50))
    ]
    assert np.mean(both) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: str) -> None:
    first, same, other = (drawn(kind, 0.6, (4, 5, 6), seed) for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thick_axis", [None, 1])
def test_every_token_is_hidden_sometimes_and_visible_sometimes(kind: str, thick_axis: int | None) -> None:
    share = np.mean([drawn(kind, 0.5, (4, 3, 5), seed, thick_axis) for seed in range(200)], 0)
    assert share.min() > 0 and share.max() < 1
