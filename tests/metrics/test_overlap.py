import math

import numpy as np
import pytest

from kneeformer.metrics.overlap import (
    Counts,
    count,
    dice,
    iou,
    precision,
    recall,
    volume_error,
    volume_mm3,
)

EMPTY = np.zeros((4, 5, 6), bool)
OVERLAPS = (dice, iou, precision, recall)


def cube(first: int, last: int) -> np.ndarray:
    mask = np.zeros((6, 6, 6), bool)
    mask[first:last, first:last, first:last] = True
    return mask


def test_two_offset_cubes_by_hand():
    # 3 x 3 x 3 cubes one voxel apart along the diagonal share 2 x 2 x 2.
    counts = count(cube(1, 4), cube(2, 5))
    assert counts == Counts(tp=8, fp=19, fn=19)
    assert dice(counts) == pytest.approx(16 / 54)
    assert iou(counts) == pytest.approx(8 / 46)
    assert precision(counts) == recall(counts) == pytest.approx(8 / 27)
    assert volume_error(counts) == 0


def test_a_prediction_inside_the_reference():
    counts = count(cube(1, 4), cube(1, 3))
    assert precision(counts) == 1
    assert recall(counts) == pytest.approx(8 / 27)
    assert volume_error(counts) == pytest.approx(8 / 27 - 1)
    assert volume_error(count(cube(1, 3), cube(1, 4))) == pytest.approx(27 / 8 - 1)


def test_volume_is_in_cubic_millimetres():
    assert volume_mm3(8, (3.0, 0.5, 0.25)) == 3.0


def test_both_empty_says_nothing():
    counts = count(EMPTY, EMPTY)
    assert all(math.isnan(metric(counts)) for metric in (*OVERLAPS, volume_error))


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_is_the_worst_there_is(swap: bool):
    found = EMPTY.copy()
    found[1, 2, 3] = True
    counts = count(EMPTY, found) if swap else count(found, EMPTY)
    assert [metric(counts) for metric in OVERLAPS] == [0, 0, 0, 0]
    assert math.isnan(volume_error(counts)) if swap else volume_error(counts) == -1


def test_symmetry_and_the_bond_between_dice_and_iou():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random((2, 4, 5, 6)) < rng.uniform(0.1, 0.9)
        forth, back = count(a, b), count(b, a)
        assert dice(forth) == dice(back)
        assert iou(forth) == pytest.approx(dice(forth) / (2 - dice(forth)))
        assert precision(forth) == recall(back)
        f1 = 2 * precision(forth) * recall(forth) / (precision(forth) + recall(forth))
        assert dice(forth) == pytest.approx(f1)
        assert (forth.reference, forth.predicted, forth.union) == (a.sum(), b.sum(), (a | b).sum())


def test_shapes_are_not_broadcast_and_label_maps_are_not_masks():
    with pytest.raises(ValueError, match=r"\(4, 5, 6\).*\(4, 5, 1\)"):
        count(EMPTY, EMPTY[..., :1])
    with pytest.raises(ValueError, match="uint8"):
        count(EMPTY, EMPTY.astype(np.uint8))
