"""A left bone that is called right is found before a model is learnt of it."""

import pytest
import torch
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.registration import Registration
from kneeformer.shape_models.settings import RegistrationSettings
from kneeformer.tasks.bone_completion.training_sides import wrongly_mirrored

GRID, SPACING = (20, 20, 20), (3.0, 3.0, 3.0)
X = 2


def bone(radius_mm: float) -> Tensor:
    """(2, z, y, x): a ball with bumps on three sides, which no rotation makes its mirror image."""
    points, distances = points_from_middle(GRID, SPACING), []
    for place, size in ((0, 0, 0), 1.0), ((16, 0, 0), 0.45), ((0, 16, 0), 0.6), ((6, 0, 16), 0.5):
        distances.append((points - torch.tensor(place)).norm(dim=1) - size * radius_mm)
    distance = torch.stack(distances).amin(0).reshape(GRID)
    return torch.stack([(distance < 0).float(), distance])


@pytest.fixture(scope="module")
def bones() -> list[Tensor]:
    """Three of one side, and two of the other that were mirrored."""
    return [bone(radius) for radius in (14.0, 14.5, 15.0, 14.2, 14.8)]


def found(bones: list[Tensor], mirrored: list[bool]) -> list[int]:
    return wrongly_mirrored(Registration(GRID, SPACING, RegistrationSettings()), bones, mirrored, X)


def test_bones_that_were_mirrored_rightly_are_alike(bones: list[Tensor]) -> None:
    assert found(bones, [False, False, False, True, True]) == []


def test_one_that_should_not_have_been_mirrored_is_found(bones: list[Tensor]) -> None:
    assert found([*bones[:4], bones[4].flip(X + 1)], [False, False, False, True, True]) == [4]


def test_where_few_bones_or_none_are_of_one_side_nothing_is_said(bones: list[Tensor]) -> None:
    wrong = [bones[0], bones[1].flip(X + 1)]
    assert found(wrong, [False, True]) == [] and found(wrong, [False, False]) == []
