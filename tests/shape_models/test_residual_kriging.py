"""Errors of a prior go on into what is hidden, as Gaussian process regression has it."""

import math

import pytest
import torch
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.residual_kriging import krige_residual

GRID, SPACING = (8, 9, 10), (2.0, 2.0, 2.0)
POINTS = points_from_middle(GRID, SPACING)
LENGTH = 6.0


def plane() -> Tensor:
    """(z, y, x) mm: a surface across y."""
    return POINTS[:, 1].reshape(GRID).clone()


def error(points: Tensor) -> Tensor:
    return 0.5 + 0.3 * (points[..., 0] / 5).sin() + 0.2 * (points[..., 2] / 7).cos()


def left_half() -> Tensor:
    return (POINTS[:, 2] < 0).reshape(GRID)


def matern(apart: float) -> float:
    scaled = math.sqrt(3) * apart / LENGTH
    return (1 + scaled) * math.exp(-scaled)


def test_it_is_regression_on_the_visible_voxels_near_surface_and_border() -> None:
    known = left_half()
    predicted, distance = plane(), plane() + error(POINTS).reshape(GRID)
    correction, left = krige_residual(predicted, distance, known, SPACING, LENGTH)
    to_hidden = 1 - POINTS[:, 2]  # the first hidden voxel of a row lies at x = 1
    near = (known.flatten() & (to_hidden < 1.5 * LENGTH) & (predicted.flatten().abs() < 5)).nonzero()[:, 0]
    assert 100 < len(near) < 1500
    among = torch.tensor([[matern(float((POINTS[a] - POINTS[b]).norm())) for b in near] for a in near])
    inverse = torch.linalg.inv(among.double() + 0.1 * torch.eye(len(near)))
    for index in (~known.flatten()).nonzero()[::23, 0]:
        cross = torch.tensor([matern(float((POINTS[index] - POINTS[b]).norm())) for b in near]).double()
        wanted = cross @ inverse @ error(POINTS[near]).double()
        assert float(correction.flatten()[index]) == pytest.approx(float(wanted), abs=2e-3)
        assert float(left.flatten()[index]) == pytest.approx(float(1 - cross @ inverse @ cross), abs=2e-3)


def test_beside_visible_bone_the_error_goes_on() -> None:
    known = left_half()
    correction, left = krige_residual(
        plane(), plane() + error(POINTS).reshape(GRID), known, SPACING, correlation_mm=15.0
    )
    beside = (~known) & (POINTS[:, 2] < 2).reshape(GRID) & (plane().abs() < 3)
    assert beside.any()
    assert (correction - error(POINTS).reshape(GRID))[beside].abs().max() < 0.1
    assert (left[beside] < 0.2).all()


def test_far_away_the_prior_stands() -> None:
    known = (POINTS[:, 2] < -6).reshape(GRID)
    correction, left = krige_residual(plane(), plane() + 1, known, SPACING, correlation_mm=1.5)
    far = (POINTS[:, 2] > 5).reshape(GRID)
    assert correction[far].abs().max() < 1e-3
    assert (left[far] > 0.999).all()


def test_the_share_that_is_left() -> None:
    known = left_half()
    correction, left = krige_residual(plane(), plane() - 2, known, SPACING, LENGTH)
    assert (left[known] == 0).all() and (correction[known] == 0).all()
    assert ((left >= 0) & (left <= 1)).all()
    means = [left[:, :, x][~known[:, :, x]].mean() for x in range(5, 10)]
    assert means == sorted(means)


def test_only_what_is_known_is_read() -> None:
    known = left_half()
    distance = plane() + error(POINTS).reshape(GRID)
    spoilt = distance.clone()
    spoilt[~known] = torch.nan
    for one, other in zip(
        krige_residual(plane(), distance, known, SPACING, LENGTH),
        krige_residual(plane(), spoilt, known, SPACING, LENGTH),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("share", [True, False])
def test_nothing_to_correct_or_to_learn_from(share: bool) -> None:
    known = torch.full(GRID, share)
    correction, left = krige_residual(plane(), plane() + 1, known, SPACING, LENGTH)
    assert (correction == 0).all() and (left == (0 if share else 1)).all()


def test_many_visible_voxels_are_averaged() -> None:
    grid = (24, 24, 24)
    points = points_from_middle(grid, SPACING)
    predicted, known = points[:, 1].reshape(grid), (points[:, 2] < 0).reshape(grid)
    correction, left = krige_residual(predicted, predicted + 0.5, known, SPACING, 12.0)
    beside = (~known) & (points[:, 2] < 4).reshape(grid) & (predicted.abs() < 3)
    assert (correction[beside] - 0.5).abs().max() < 0.1 and (left[beside] < 0.5).all()
