"""Deviations are multiplied by what bones left out show: known answers with balls, which no pose can hide."""

import math

import pytest
import torch
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.both_sides import Origin
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.tasks.bone_completion.batches import Posed
from kneeformer.tasks.bone_completion.calibration import calibrate

GRID, SPACING = (24, 24, 24), (2.5, 2.5, 2.5)
KNOWN = torch.ones(GRID, dtype=torch.bool)


def ball(radius_mm: float) -> Tensor:
    distance = (points_from_middle(GRID, SPACING).norm(dim=1) - radius_mm).reshape(GRID)
    return torch.stack([(distance < 0).float(), distance])


def calibrated(kind: str, radii: tuple[float, ...]) -> CompletionModel:
    """Fitted to balls that lie where they lie: no steps of registration."""
    prior = PriorSettings.model_validate({"kind": kind, "components": 2, "residual": False})
    network = CompletionModel(GRID, SPACING, RegistrationSettings(steps=0), prior)
    network.fit(torch.stack([ball(r) for r in radii]))
    origins = [Origin(str(n), None, 1.0) for n in range(len(radii))]
    calibrate(network, [Posed(ball(r), Pose.identity()) for r in radii], origins)
    return network


def test_it_is_the_standard_deviation_of_errors_in_deviations() -> None:
    """Balls of 16, 20 and 24 mm, each from the mean of the two others: off by 6, 0 and 6 mm where these
    deviate by 2, 4 and 2 mm from their mean.
    """
    network = calibrated("prototype", (16.0, 20.0, 24.0))
    assert float(network.calibration) == pytest.approx(math.sqrt((3**2 + 0 + 3**2) / 3), rel=0.01)
    deviation = network(ball(20.0), KNOWN).deviation_mm
    assert torch.allclose(deviation, network.calibration * network.prior.noise_mm)


@pytest.mark.parametrize(("kind", "radii"), [("nearest", (16.0, 20.0, 24.0)), ("prototype", (16.0, 24.0))])
def test_it_stays_one_where_nothing_tells(kind: str, radii: tuple[float, ...]) -> None:
    assert calibrated(kind, radii).calibration == 1
