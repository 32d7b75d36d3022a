"""From logits to label maps on the native grid."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.engine.native import to_label_map, to_probabilities
from kneeformer.geometry.aliases import Size
from kneeformer.labels import LabelScheme

GAPS = LabelScheme.from_json({"background": 0, "tibia": 7, "femur": 3})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": [1]}, [2, 1])


def logits(outputs: int, size: Size = (4, 9, 7)) -> Tensor:
    return torch.randn(outputs, *size, generator=torch.Generator().manual_seed(0))


def test_on_the_same_grid_the_largest_wins() -> None:
    given = logits(3)
    labels = to_label_map(given, (4, 9, 7), GAPS)
    assert np.array_equal(labels, np.array([0, 7, 3], np.uint8)[given.argmax(0).numpy()])
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("shape", [(4, 18, 14), (9, 5, 7), (2, 20, 30), (1, 1, 1)])
def test_the_running_argmax_is_the_argmax_of_all(shape: Size) -> None:
    many = LabelScheme.from_json({"background": 0, **{f"bone{i}": i for i in range(1, 12)}})
    given = logits(12)
    all_at_once = F.interpolate(given[None], size=shape, mode="trilinear", align_corners=False)[0]
    assert np.array_equal(to_label_map(given, shape, many), all_at_once.argmax(0).numpy())


def test_half_precision_logits() -> None:
    given = logits(3).bfloat16()
    assert np.array_equal(
        to_label_map(given, (4, 18, 14), GAPS), to_label_map(given.float(), (4, 18, 14), GAPS)
    )


def test_undecided_voxels_are_background() -> None:
    assert not to_label_map(torch.zeros(3, 2, 2, 2), (2, 2, 2), GAPS).any()
    assert not to_label_map(torch.zeros(2, 2, 2, 2), (2, 2, 2), REGIONS).any()


def test_regions_are_painted_in_their_order() -> None:
    bone = torch.tensor([-1.0, 1, 1, -1])
    femur = torch.tensor([-1.0, -1, 1, 1])
    given = torch.stack([bone, femur]).view(2, 1, 1, 4)
    assert to_label_map(given, (1, 1, 4), REGIONS).ravel().tolist() == [0, 2, 1, 1]


@pytest.mark.parametrize(("value", "dtype"), [(300, np.uint16), (40000, np.uint16), (70000, np.uint32)])
def test_labels_above_255_need_more_bits(value: int, dtype: type) -> None:
    large = LabelScheme.from_json({"background": 0, "screw": value})
    given = torch.stack([torch.zeros(1, 1, 2), torch.tensor([[[-1.0, 1.0]]])])
    labels = to_label_map(given, (1, 1, 2), large)
    assert labels.dtype == dtype and labels.ravel().tolist() == [0, value]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_the_thick_axis_are_not_mixed(axis: int) -> None:
    # foreground logits of four slices; interpolated, the strong first slice would win over its neighbour
    slices = torch.tensor([10.0, -1, 1, -1]).repeat_interleave(9).view(4, 3, 3)
    given = torch.stack([torch.zeros(4, 3, 3), slices]).movedim(1, axis + 1)
    scheme = LabelScheme.from_json({"background": 0, "femur": 1})
    shape = [3, 3, 3]
    for new, expected in ((8, [1, 1, 0, 0, 1, 1, 0, 0]), (4, [1, 0, 1, 0]), (2, [0, 0]), (1, [1])):
        shape[axis] = new
        labels = np.moveaxis(to_label_map(given, (shape[0], shape[1], shape[2]), scheme, axis), axis, 0)
        assert labels[:, 0, 0].tolist() == expected
    shape[axis] = 8
    mixed = np.moveaxis(to_label_map(given, (shape[0], shape[1], shape[2]), scheme), axis, 0)
    assert mixed[:, 0, 0].tolist() != [1, 1, 0, 0, 1, 1, 0, 0]


def test_the_plane_of_thick_slices_is_interpolated() -> None:
    given = logits(3, (4, 9, 7))
    labels = to_label_map(given, (8, 18, 20), GAPS, thick_axis=0)
    each = [to_label_map(given[:, z : z + 1], (1, 18, 20), GAPS)[0] for z in range(4)]
    assert np.array_equal(labels, np.stack(each).repeat(2, 0))


def test_probabilities_of_exclusive_labels_sum_to_one() -> None:
    given = logits(3)
    shares = to_probabilities(given, (4, 12, 9), GAPS)
    assert shares.shape == (3, 4, 12, 9) and shares.dtype == np.float16
    assert np.allclose(shares.astype(np.float32).sum(0), 1, atol=2e-3)
    same = to_probabilities(given, (4, 9, 7), GAPS)
    assert np.allclose(same, given.softmax(0).numpy(), atol=1e-3)
    assert np.array_equal(np.array([0, 7, 3])[shares.argmax(0)], to_label_map(given, (4, 12, 9), GAPS)) or (
        np.mean(np.array([0, 7, 3])[shares.argmax(0)] == to_label_map(given, (4, 12, 9), GAPS)) > 0.99
    )


def test_probabilities_of_regions_are_each_their_own() -> None:
    given = logits(2)
    shares = to_probabilities(given, (4, 9, 7), REGIONS)
    assert np.allclose(shares, given.sigmoid().numpy(), atol=1e-3)
