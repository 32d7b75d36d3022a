"""Regions to hide: a ball of the requested share of the bone, the same for the same draw."""

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.tasks.bone_completion.fractures import hide

GRID = Grid((40, 50, 60), (2.0, 1.0, 1.5))


def bone() -> np.ndarray:
    """An ellipsoid, 34 x 40 x 54 voxels."""
    index = np.indices(GRID.shape)
    middle = (np.array(GRID.shape).reshape(3, 1, 1, 1) - 1) / 2
    radii = np.array([17.0, 20.0, 27.0]).reshape(3, 1, 1, 1)
    return np.asarray((((index - middle) / radii) ** 2).sum(0) < 1)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_so_much_is_hidden(share: float, seed: int) -> None:
    mask = hide(bone(), GRID, np.random.default_rng(seed), share)
    assert mask.dtype == np.uint8 and mask.shape == GRID.shape
    assert set(np.unique(mask).tolist()) == {0, KEEP, COMPLETE} == {0, 1, 2}
    assert (mask[bone()] == COMPLETE).mean() == pytest.approx(share, abs=0.01)
    assert (mask[bone()] > 0).all()
    assert not (mask[~bone()] == KEEP).any()


def test_what_is_hidden_is_a_ball_in_mm_around_a_voxel_of_the_bone() -> None:
    mask = hide(bone(), GRID, np.random.default_rng(3), 0.03)
    held = np.argwhere(mask == COMPLETE)
    assert (held > 0).all() and (held < np.array(GRID.shape) - 1).all()
    centre = (held.min(0) + held.max(0)) // 2
    assert bone()[tuple(centre)]
    away = np.linalg.norm((np.indices(GRID.shape).T - centre) * GRID.spacing, axis=-1).T
    assert away[mask == COMPLETE].max() < away[mask != COMPLETE].min()


def test_one_draw_one_region() -> None:
    first, again, other = (hide(bone(), GRID, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_everything_can_be_hidden() -> None:
    assert (hide(bone(), GRID, np.random.default_rng(0), 1.0)[bone()] == COMPLETE).all()
