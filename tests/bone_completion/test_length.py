"""Length of a bone and its deviation, by hand on boxes; intervals hold as many errors as they say."""

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.tasks.bone_completion.fractures import end_of
from kneeformer.tasks.bone_completion.length import conformal_quantile, length_of

GRID = Grid((30, 12, 12), (2.0, 1.0, 1.0))


def box() -> np.ndarray:
    """40 mm long along z."""
    bone = np.zeros(GRID.shape, bool)
    bone[5:25, 3:9, 4:8] = True
    return bone


def test_deviations_of_both_ends_add_in_square() -> None:
    vertices = surface_of(box().astype(np.float32), 0.5, GRID).vertices
    deviation = np.zeros(GRID.shape, np.float32)
    deviation[:8], deviation[22:] = 3.0, 4.0
    found = length_of(vertices, deviation, GRID)
    assert found.mm == pytest.approx(40, abs=0.5) and found.deviation_mm == pytest.approx(5, abs=0.1)
    deviation[22:] = 0
    assert length_of(vertices, deviation, GRID).deviation_mm == pytest.approx(3, abs=0.1)
    assert length_of(vertices, None, GRID).deviation_mm == 0


@pytest.mark.parametrize("upper", [False, True])
def test_an_end_is_a_fifth_of_the_length(upper: bool) -> None:
    ends = [end_of(box(), GRID, side) & box() for side in (upper, not upper)]
    assert [end.sum() / box().sum() for end in ends] == pytest.approx([0.2, 0.2], abs=0.05)
    assert not (ends[0] & ends[1]).any()


def test_an_interval_holds_nine_of_ten() -> None:
    assert conformal_quantile(np.arange(8.0)) == 1.645
    assert conformal_quantile(np.arange(1.0, 20.0)) == 18  # the 18th of 19: 0.9 of 20
    rng = np.random.default_rng(0)
    held = [abs(e[-1]) <= conformal_quantile(np.abs(e[:-1])) for e in rng.standard_t(3, (2000, 20))]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)
