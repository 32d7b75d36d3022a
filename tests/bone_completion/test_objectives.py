"""Networks of bones learn by steps: what they are shown, and what their losses say of known answers."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.locnet import LocNet, as_pose, matrices, moved
from kneeformer.shape_models.pose import Pose, warp
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.shape_models.settings import LocNetSettings, RegistrationSettings
from kneeformer.tasks.bone_completion.batches import BoneBatches, Posed
from kneeformer.tasks.bone_completion.registration_objectives import PoseObjective, SimilarityObjective
from kneeformer.tasks.bone_completion.settings import BoneLearningSettings

GRID: Size = (24, 24, 32)
SPACING: Spacing = (2.0, 2.0, 2.0)


def ellipsoid() -> Tensor:
    """(2, z, y, x): half axes of 12, 14 and 20 mm, distances to first order."""
    axes = torch.tensor([12.0, 14.0, 20.0])
    points = points_from_middle(GRID, SPACING)
    level = (points / axes).norm(dim=1)
    distance = ((level - 1) * level / (points / axes**2).norm(dim=1).clamp(min=1e-3)).view(GRID)
    return torch.stack([0.5 * (distance < 0), distance])


def batches(on_prototype: bool = False, **settings: object) -> BoneBatches:
    shifted = Pose(Pose.identity().rotation, torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64), 1.0)
    learning = BoneLearningSettings.model_validate(settings)
    return BoneBatches([Posed(ellipsoid(), shifted)], learning, SPACING, 2, 0, 10, on_prototype)


class Stage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.registration = Registration(GRID, SPACING, RegistrationSettings(locnet=LocNetSettings(width=4)))
        self.registration.prototype.data.copy_(ellipsoid())


def test_points_of_a_moved_bone_lie_in_it_and_belong_where_its_pose_says() -> None:
    batch = batches()[3]
    for image, points, targets in zip(batch["image"], batch["points"], batch["targets"], strict=True):
        index = (points / 2 + (torch.tensor(GRID) - 1) / 2).round().long()
        assert (image[DISTANCE][tuple(index.T)] < 2).all()
        assert torch.allclose(targets.mean(0), torch.tensor([1.0, -2.0, 3.0]), atol=1.5)


def test_a_step_is_the_same_batch_again_and_another_is_not() -> None:
    one, again, other = batches()[1], batches()[1], batches()[2]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["image"], other["image"])


def test_nothing_is_hidden_at_probability_zero_and_something_at_one() -> None:
    assert batches(hidden_probability=0)[0]["known"].all()
    shares = [float(batches(hidden_probability=1)[step]["known"].float().mean()) for step in range(5)]
    assert max(shares) < 1


def test_what_is_visible_lies_around_the_middle() -> None:
    batch = batches(hidden_probability=0, shift_mm=0)[0]
    inside = points_from_middle(GRID, SPACING)[(batch["image"][0, DISTANCE] < 0).flatten()]
    assert inside.mean(0).abs().max() < 0.5


def test_the_first_answer_is_the_identity_and_what_is_hidden_changes_no_bit() -> None:
    network = LocNet(GRID, LocNetSettings(width=4))
    image, known = ellipsoid()[None], torch.ones(1, *GRID, dtype=torch.bool)
    assert torch.equal(network(image, known), torch.zeros(1, 7))
    nn.init.normal_(network.answer[-1].weight)
    known[..., 20:] = False
    other = torch.where(known[:, None], image, torch.nan)
    assert torch.equal(network(image, known), network(other, known))


def test_matrices_are_similarities_and_come_back_as_poses() -> None:
    parameters = torch.tensor([[0.3, -0.2, 0.1, 4.0, -5.0, 6.0, np.log(1.1)]], dtype=torch.float32)
    transform = matrices(parameters)
    assert torch.linalg.svdvals(transform[0, :, :3]) == pytest.approx([1.1] * 3, abs=1e-5)
    pose, points = as_pose(transform[0]), torch.randn(5, 3)
    assert torch.allclose(pose(points), moved(transform, points[None])[0], atol=1e-4)


def test_the_pose_loss_is_in_millimetres() -> None:
    """The network answers with the identity; the bone lies 5 mm off where it belongs."""
    points = torch.randn(1, 50, 3)
    batch = {"image": ellipsoid()[None], "known": torch.ones(1, *GRID, dtype=torch.bool), "points": points}
    batch["targets"] = points + torch.tensor([0.0, 3.0, 4.0])
    assert float(PoseObjective().loss(Stage(), batch).detach()) == pytest.approx(5, abs=1e-4)


def test_a_bone_on_its_prototype_is_like_it_and_one_pushed_away_is_not() -> None:
    stage, known = Stage(), torch.ones(1, *GRID, dtype=torch.bool)
    aside = Pose(Pose.identity().rotation, torch.tensor([0.0, 0.0, 30.0], dtype=torch.float64), 1.0)
    losses = [
        float(SimilarityObjective().loss(stage, {"image": image[None], "known": known}).detach())
        for image in (ellipsoid(), warp(ellipsoid(), aside, GRID, SPACING))
    ]
    assert losses[0] == pytest.approx(0, abs=1e-4) and losses[1] > 0.05


def test_scores_of_a_joint_registration_do_not_depend_on_where_it_began() -> None:
    """Targets are poses on the prototype, which a resumed training has from its checkpoint."""
    batch = batches()[0]
    resumed = {**batch, "targets": batch["targets"] + 5}
    scores = [SimilarityObjective().validate(Stage().eval(), [one]).scores for one in (batch, resumed)]
    assert scores[0] == scores[1] and 0 < scores[0]["similarity"] < 1


@pytest.mark.parametrize("objective", [SimilarityObjective(), PoseObjective()])
def test_steps_bring_the_bones_nearer(objective: SimilarityObjective | PoseObjective) -> None:
    stage = Stage()
    learning = {"rotation_degrees": 0, "scale": (1.0, 1.0), "hidden_probability": 0, "shift_mm": 8}
    examples = [batches(**learning)[step] for step in range(3)]
    optimiser = torch.optim.AdamW(stage.registration.locnet.parameters(), 3e-3)
    before = objective.validate(stage, examples).loss
    for step in range(40):
        loss = objective.loss(stage, examples[step % 3])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert objective.validate(stage, examples).loss < 0.8 * before
