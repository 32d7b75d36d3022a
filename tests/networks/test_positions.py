"""Positions in millimetres: attention sees differences of positions, whatever the grid they come from."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kneeformer.geometry.orientation import crop_to_patient
from kneeformer.networks.positions import RotaryPositions, points_from_middle, points_in_patient, rotate

PERIODS = (4.0, 400.0)


def scores(query: Tensor, key: Tensor, positions_mm: Tensor) -> Tensor:
    """(batch, heads, n, n) products of rotated queries and keys."""
    rotation = RotaryPositions(query.shape[-1], PERIODS)(positions_mm)
    return rotate(query, rotation) @ rotate(key, rotation).transpose(-1, -2)


def features(n: int, head_width: int = 12) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 2, n, head_width)
    return query, key


def test_tokens_lie_in_the_order_of_flatten() -> None:
    positions = points_from_middle((2, 3, 4), (6.0, 7.0, 8.0))
    index = torch.stack(torch.meshgrid(*map(torch.arange, (2, 3, 4)), indexing="ij")).flatten(1).T
    steps = positions - positions[0]
    assert positions.shape == (24, 3) and torch.allclose(steps, index * torch.tensor([6.0, 7.0, 8.0]))


def test_the_tokens_of_a_crop_are_as_far_apart_as_in_the_whole() -> None:
    whole = points_from_middle((4, 6, 8), (3.0, 5.0, 7.0)).view(4, 6, 8, 3)
    crop = points_from_middle((2, 3, 4), (3.0, 5.0, 7.0)).view(2, 3, 4, 3)
    part = whole[1:3, 2:5, 4:]
    assert torch.allclose(part - part[0, 0, 0], crop - crop[0, 0, 0])


def test_the_same_tokens_of_two_planes_lie_at_the_same_points_of_the_patient() -> None:
    to_the_right = np.array([6.0, 0, 0])
    sagittal = torch.from_numpy(crop_to_patient("RSA", (3.0, 1.0, 2.0), to_the_right))
    axial = torch.from_numpy(crop_to_patient("SPL", (1.0, 2.0, 3.0), np.array([0.0, 0, -6])))
    first = points_in_patient((2, 3, 4), (2, 7, 4), sagittal[None]).view(2, 3, 4, 3)
    second = points_in_patient((3, 4, 2), (7, 4, 2), axial[None]).view(3, 4, 2, 3)
    assert torch.equal(first, second.permute(2, 0, 1, 3).flip(0, 2))
    assert first[0, 0, 0].tolist() == [-6 + 3, 12, -7]  # left of the crop's middle, behind and below


def test_no_position_is_no_rotation() -> None:
    query, _ = features(5)
    rotation = RotaryPositions(12, PERIODS)(torch.zeros(1, 5, 3))
    assert torch.equal(rotate(query, rotation), query)


def test_angles_by_hand() -> None:
    # A head of 12 has two periods an axis, 4 and 400 mm: 1 mm along y turns by a quarter and by a 400th
    cosine, sine = RotaryPositions(12, PERIODS)(torch.tensor([[[0.0, 1.0, 0.0]]]))
    assert cosine.shape == sine.shape == (1, 1, 1, 6)
    angles = torch.atan2(sine, cosine).flatten()
    assert torch.allclose(angles, torch.tensor([0, 0, math.pi / 2, math.pi / 200, 0, 0]), atol=1e-6)


def test_each_pair_is_turned_by_its_angle() -> None:
    rotation = tuple(f(torch.tensor([[[[0.3, -1.0, 2.0]]]])) for f in (torch.cos, torch.sin))
    turned = rotate(torch.tensor([[[[1.0, 0.0, 2.0, 0.0, 1.0, 0.0]]]]), (rotation[0], rotation[1])).flatten()
    expected = [  # pair i is channels i and i + 3
        math.cos(0.3),
        -math.sin(-1.0),
        2 * math.cos(2.0),
        math.sin(0.3),
        math.cos(-1.0),
        2 * math.sin(2.0),
    ]
    assert torch.allclose(turned, torch.tensor(expected))


def test_rotation_keeps_lengths_and_dtype() -> None:
    query, _ = features(7, 48)
    rotation = RotaryPositions(48, PERIODS)(100 * torch.randn(1, 7, 3))
    assert torch.allclose(rotate(query, rotation).norm(dim=-1), query.norm(dim=-1), rtol=1e-5)
    assert rotate(query.bfloat16(), rotation).dtype == torch.bfloat16


@pytest.mark.parametrize("shift", [(30.0, 0.0, 0.0), (-3.7, 111.0, 0.4)])
def test_scores_do_not_change_when_everything_moves(shift: tuple[float, float, float]) -> None:
    query, key = features(6)
    positions = 50 * torch.rand(1, 6, 3)
    moved = scores(query, key, positions + torch.tensor(shift))
    assert torch.allclose(moved, scores(query, key, positions), atol=1e-3)


def test_scores_change_with_distance_along_every_axis() -> None:
    query, key = features(2)
    near = scores(query, key, torch.zeros(1, 2, 3))
    for axis in range(3):
        positions = torch.zeros(1, 2, 3)
        positions[0, 1, axis] = 1.5
        assert not torch.allclose(scores(query, key, positions), near, atol=1e-3)


def test_two_grids_of_one_place_agree() -> None:
    # The same two points in mm, once as neighbours of a coarse grid, once as corners of a fine one
    query, key = features(2)
    coarse = points_from_middle((2, 1, 1), (8.0, 8.0, 8.0))[None]
    fine = points_from_middle((5, 1, 1), (2.0, 8.0, 8.0))[None, [0, 4]]
    assert torch.allclose(scores(query, key, coarse), scores(query, key, fine), atol=1e-5)


def test_positions_of_a_batch_are_each_samples_own() -> None:
    query, key = features(4)
    positions = 20 * torch.rand(2, 4, 3)
    both = scores(query.expand(2, -1, -1, -1), key.expand(2, -1, -1, -1), positions)
    assert torch.allclose(both[1:], scores(query, key, positions[1:]), atol=1e-5)


def test_a_head_of_six_has_the_shorter_period() -> None:
    assert RotaryPositions(6, PERIODS).frequencies.tolist() == pytest.approx([2 * math.pi / 4])
