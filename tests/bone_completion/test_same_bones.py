"""One bone under two names is told, and a prior of nothing else has an answer."""

import torch

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.tasks.bone_completion.same_bones import same_bones

GRID, SPACING = (16, 16, 16), (4.0, 4.0, 4.0)
AWAY = points_from_middle(GRID, SPACING).norm(dim=1).reshape(GRID)


def ball(radius_mm: float) -> torch.Tensor:
    return torch.stack([(radius_mm > AWAY).float(), AWAY - radius_mm])


def test_bones_of_two_people_that_differ_by_less_than_a_fifth_of_a_millimetre() -> None:
    bones = torch.stack([ball(20), ball(21.5), ball(20.1), ball(20.05)])
    pairs = same_bones(bones, ball(20), ["a", "b", "c", "a"])
    assert [(one, other, round(mm, 3)) for one, other, mm in pairs] == [(0, 2, 0.1), (2, 3, 0.05)]


def test_a_process_of_one_bone_twice_completes_and_is_finite() -> None:
    """Its covariance is that of the pose alone, of rank 7: float32 made it indefinite."""
    model = CompletionModel(GRID, SPACING, RegistrationSettings(), PriorSettings(kind="gp", components=1))
    model.registration.prototype.copy_(ball(20))
    model.fit(torch.stack([ball(20), ball(20)]))
    known = torch.ones(GRID, dtype=torch.bool)
    known[9:] = False
    found = model(ball(20), known)
    assert found.deviation_mm is not None and found.deviation_mm.isfinite().all()
    hidden = ~known & (AWAY - 20 < 0).logical_not() & (AWAY < 22)
    assert (found.image[1] - ball(20)[1])[hidden].abs().max() < 1
