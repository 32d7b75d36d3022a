"""Deviations are multiplied by what bones left out show: known answers with balls, which no pose can hide."""

import math

import pytest
import torch
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.sides import Side, Whose
from kneeformer.tasks.bone_completion.batches import Posed
from kneeformer.tasks.bone_completion.calibration import calibrate

GRID, SPACING = (24, 24, 24), (2.5, 2.5, 2.5)
KNOWN = torch.ones(GRID, dtype=torch.bool)


def ball(radius_mm: float, taller: float = 1.0) -> Tensor:
    """Its upper half, the larger z, `taller` times as high."""
    points = points_from_middle(GRID, SPACING)
    z = points[:, 0]
    points[:, 0] = torch.where(z > 0, z / taller, z)
    distance = (points.norm(dim=1) - radius_mm).reshape(GRID)
    return torch.stack([(distance < 0).float(), distance])


def calibrated(kind: str, radii: tuple[float, ...]) -> CompletionModel:
    """Fitted to balls that lie where they lie: no steps of registration."""
    prior = PriorSettings.model_validate({"kind": kind, "components": 2, "residual": False})
    network = CompletionModel(GRID, SPACING, RegistrationSettings(steps=0), prior)
    network.fit(torch.stack([ball(r) for r in radii]))
    whose = [Whose(str(n), None) for n in range(len(radii))]
    calibrate(network, [Posed(ball(r), Pose.identity()) for r in radii], whose)
    return network


def test_it_is_the_standard_deviation_of_errors_in_deviations() -> None:
    """Balls of 16, 20 and 24 mm, each from the mean of the two others: off by 6, 0 and 6 mm where these
    deviate by 2, 4 and 2 mm from their mean.
    """
    network = calibrated("prototype", (16.0, 20.0, 24.0))
    assert float(network.calibration.factor) == pytest.approx(math.sqrt((3**2 + 0 + 3**2) / 3), rel=0.01)
    deviation = network(ball(20.0), KNOWN).deviation_mm
    assert torch.allclose(deviation, network.calibration.factor * network.prior.noise_mm)


@pytest.mark.parametrize(("kind", "radii"), [("nearest", (16.0, 20.0, 24.0)), ("prototype", (16.0, 24.0))])
def test_it_stays_one_where_nothing_tells(kind: str, radii: tuple[float, ...]) -> None:
    assert calibrated(kind, radii).calibration.factor == 1


def of_pairs(people: int) -> CompletionModel:
    """Fitted to and calibrated on both sides, which are alike, of people, who differ in the upper half."""
    sides: tuple[Side, Side] = ("left", "right")
    whose = [Whose(str(n), side) for n in range(people) for side in sides]
    bones = [ball(20.0, 1 + 0.05 * int(of.person)) for of in whose]
    prior = PriorSettings(kind="pca", components=2, residual=False)
    network = CompletionModel(GRID, SPACING, RegistrationSettings(steps=0), prior)
    network.fit(torch.stack(bones), whose, [1.0] * len(bones))
    calibrate(network, [Posed(bone, Pose.identity()) for bone in bones], whose)
    return network


def test_bones_whose_other_side_is_known_have_a_calibration_of_their_own() -> None:
    network = of_pairs(5)
    alone, given = network.calibration, network.calibration_by_other_side
    assert 0 < given.factor < 0.5 * alone.factor
    person = network.given_other_side(ball(20.0), KNOWN)
    assert person.calibration.factor == given.factor
    assert person.calibration.length_quantile == given.length_quantile
    calibrated = person(ball(20.0), KNOWN).deviation_mm
    person.calibration.factor.fill_(1)
    plain = person(ball(20.0), KNOWN).deviation_mm
    assert calibrated is not None and plain is not None
    assert torch.allclose(calibrated, given.factor * plain)


def test_few_pairs_have_that_of_all_bones() -> None:
    network = of_pairs(4)
    assert network.calibration.factor != 1
    for name, value in network.calibration.state_dict().items():
        assert torch.equal(value, network.calibration_by_other_side.state_dict()[name])
