"""Direct registration, by the gradient of likeness, goes where a bone belongs, as far as its rate lets it."""

import math

import pytest
import torch
from phantoms import COARSE, anatomy, turned
from torch import Tensor

from kneeformer.shape_models.gradient_descent import descend
from kneeformer.shape_models.image_similarity import dissimilarity, seen_on
from kneeformer.shape_models.pose import Pose, warp
from kneeformer.shape_models.registration import CT, Registration
from kneeformer.shape_models.settings import DescentSettings, RegistrationSettings

MOVE = turned(8, 5, 1.04, seed=1)
IDENTITY = Pose.identity()


def moved_mm(found: Pose, image: Tensor, true: Pose) -> float:
    points = COARSE.surface(image)
    return float((found(points) - true(points)).norm(dim=1).median())


def test_a_bone_seen_on_the_prototype_is_its_warp() -> None:
    image = COARSE.bone(anatomy(0), MOVE)
    transform = MOVE.matrix()[None, :3].float()
    there = seen_on(image, image[None], transform, COARSE.spacing)[0]
    assert torch.allclose(there, warp(image, MOVE, COARSE.grid, COARSE.spacing), atol=1e-3)


def test_dissimilarity_is_none_where_a_bone_belongs_and_hidden_parts_do_not_count() -> None:
    prototype = COARSE.bone(anatomy(0))[CT]
    broken, hidden = prototype.clone(), torch.zeros_like(prototype)
    broken[:8], hidden[:8] = 0.9, 1.0
    still = IDENTITY.matrix()[None, :3].float()
    asked = [
        float(dissimilarity(prototype, image[None], still, COARSE.spacing, part))
        for image, part in ((prototype, None), (broken, None), (broken, hidden[None]))
    ]
    assert asked[0] == pytest.approx(0, abs=1e-6) and asked[2] == pytest.approx(0, abs=1e-6)
    assert asked[1] > 0.1


@pytest.mark.parametrize("hidden_share", [0.0, 0.25])
def test_it_goes_where_the_bone_belongs(hidden_share: float) -> None:
    image, prototype = COARSE.bone(anatomy(0), MOVE), COARSE.bone(anatomy(0))
    hidden = torch.zeros(COARSE.grid, dtype=torch.bool)
    if hidden_share:
        hidden = image[1].abs() >= COARSE.hidden(image, hidden_share, seed=4)
    seen = torch.where(hidden, 0.0, image[CT])
    found = descend(prototype[CT], seen, hidden, COARSE.spacing, IDENTITY, 1e-2, 100)
    assert moved_mm(IDENTITY, image, MOVE) > 3
    assert moved_mm(found, image, MOVE) < COARSE.spacing[0] / 4


def test_at_the_published_rate_it_can_barely_move() -> None:
    """A step of AdamW moves a number by its rate at most: 50 steps of 1e-5 turn by 0.03 degrees."""
    image, prototype = COARSE.bone(anatomy(0), MOVE), COARSE.bone(anatomy(0))
    nothing = torch.zeros(COARSE.grid, dtype=torch.bool)
    found = descend(prototype[CT], image[CT], nothing, COARSE.spacing, IDENTITY, 1e-5, 50)
    angle = math.acos(min(1.0, (float(found.rotation.trace()) - 1) / 2))
    assert 0 < angle < 50 * 1e-5 * 3**0.5 * 1.01


def test_a_pose_that_was_found_is_remembered_until_anything_is_different() -> None:
    image, prototype = COARSE.bone(anatomy(0), MOVE)[CT], COARSE.bone(anatomy(0))[CT]
    hidden = torch.zeros(COARSE.grid, dtype=torch.bool)
    found = descend(prototype, image, hidden, COARSE.spacing, IDENTITY, 1e-3, 3)
    assert descend(prototype.clone(), image.clone(), hidden, COARSE.spacing, IDENTITY, 1e-3, 3) is found
    hidden[0, 0, 0] = True
    assert descend(prototype, image, hidden, COARSE.spacing, IDENTITY, 1e-3, 3) is not found
    assert descend(prototype, image, ~hidden, COARSE.spacing, MOVE, 1e-3, 3) is not found


def test_a_registration_that_descends_takes_the_steps_of_all_rounds_or_of_one() -> None:
    settings = RegistrationSettings(descent=DescentSettings(steps=5, learning_rate=1e-3), rounds=3, steps=0)
    network = Registration(COARSE.grid, COARSE.spacing, settings)
    network.prototype.copy_(COARSE.bone(anatomy(0)))
    image = COARSE.bone(anatomy(0), MOVE)
    known = torch.ones(COARSE.grid, dtype=torch.bool)
    steps = [
        descend(network.prototype[CT], image[CT], ~known, COARSE.spacing, IDENTITY, 1e-3, n) for n in (15, 5)
    ]
    assert torch.equal(network(image, known).pose.matrix(), steps[0].matrix())
    assert torch.equal(network(image, known, IDENTITY).pose.matrix(), steps[1].matrix())
    spoilt = torch.where(known, image, torch.nan)
    assert torch.equal(network(spoilt, known).pose.matrix(), steps[0].matrix())
