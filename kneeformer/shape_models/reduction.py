"""Reduction of a bone fragment: the rigid motion that moves it back to where it broke off.

The least misfit (`fragment_misfit`) is found by Gauss-Newton steps, point to plane (Chen and Medioni 1992),
from many initial rotations and shifts. Costs are wide at first and become narrow. At last the fracture faces,
which are measured, outweigh the completed surface.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from kneeformer.shape_models.fragment_misfit import ROBUST_MM, FragmentMisfit, FragmentSurface, Target
from kneeformer.shape_models.pose import Pose, rotation_matrix

_TURNS, _SHIFTS_MM = math.radians(15), 6.0  # of the starts, about and along each axis
_POINTS_AT_FIRST, _POINTS = 250, 800  # all of them at last
_STEPS_AT_FIRST, _STEPS = 10, 20
_WIDE_AT_FIRST_MM, _WIDE_MM = 8.0, 2.0  # initial widths of the costs
_REFINED = 5  # best starts
_FACES_MM, _FACES_AT_LAST_MM = 0.5, 0.25  # error between faces; at first, wrong ones may face each other
_RIVAL_MISFIT, _APART_MM = 1.0, 2.5  # a rival is about as likely and lies elsewhere


@dataclass(frozen=True)
class Reduced:
    """The registration of a fragment.

    Attributes:
        motion: from its initial position to the new one, of points around its own middle.
        residual_mm: root mean square distance to the bone's surface, of the points that lie on it; of all
            points where none does.
        on_surface_mm2: area of the fragment that lies on the bone's surface.
        on_face_mm2: area that lies on faces of bone in place.
        deviation_mm: standard deviation of its points' positions.
        turn_deviation: radians, standard deviation of its rotation about the least determined axis.
        rival_mm: distance to another position that fits about as well; 0 without one.
    """

    motion: Pose
    residual_mm: float
    on_surface_mm2: float
    on_face_mm2: float
    deviation_mm: float
    turn_deviation: float
    rival_mm: float


def reduce(fragment: FragmentSurface, target: Target) -> Reduced:
    """Find where a fragment belongs."""
    rough, fine = (
        FragmentMisfit(fragment.thinned(most), target, _FACES_MM) for most in (_POINTS_AT_FIRST, _POINTS)
    )
    found = [_descended(rough, start, _STEPS_AT_FIRST, _WIDE_AT_FIRST_MM) for start in _starts()]
    apart: list[Pose] = []
    for motion in sorted(found, key=rough):
        if all(_between(fragment, motion, other) > _APART_MM for other in apart):
            apart.append(motion)
    refined = [_descended(fine, motion, _STEPS, _WIDE_MM) for motion in apart[:_REFINED]]
    misfits = [fine(motion) for motion in refined]
    least = min(misfits)
    best = refined[misfits.index(least)]
    rivals = [
        _between(fragment, best, other)
        for other, misfit in zip(refined, misfits, strict=True)
        if misfit < least + _RIVAL_MISFIT
    ]
    last = FragmentMisfit(fragment, target, _FACES_AT_LAST_MM)
    motion = _descended(last, best, _STEPS, ROBUST_MM)
    return _judged(last, motion, max(far if far > _APART_MM else 0.0 for far in rivals))


def _starts() -> list[Pose]:
    turns = [torch.zeros(3), *torch.eye(3) * _TURNS, *torch.eye(3) * -_TURNS]
    shifts = [torch.zeros(3), *torch.eye(3) * _SHIFTS_MM, *torch.eye(3) * -_SHIFTS_MM]
    return [Pose(rotation_matrix(turn), shift.double(), 1.0) for turn, shift in product(turns, shifts)]


def _descended(misfit: FragmentMisfit, motion: Pose, steps: int, wide_mm: float) -> Pose:
    """The motion after Gauss-Newton steps; costs become narrow over two thirds of them."""
    for step in range(steps):
        width = max(ROBUST_MM, wide_mm * (1 - 1.5 * step / steps))
        normal, gradient = misfit.normal_equations(motion, width)
        change = -torch.linalg.solve(normal + 1e-3 * torch.diag(normal.diagonal()), gradient)
        motion = Pose(rotation_matrix(change[:3]) @ motion.rotation, motion.shift + change[3:], 1.0)
        if width == ROBUST_MM and float(change.abs().max()) < 1e-4:
            break
    return motion


def _between(fragment: FragmentSurface, one: Pose, other: Pose) -> float:
    """Root mean square distance in mm of a fragment's points between two poses."""
    return float((one(fragment.points) - other(fragment.points)).square().sum(1).mean().sqrt())


def _judged(misfit: FragmentMisfit, motion: Pose, rival_mm: float) -> Reduced:
    seen, point_mm2 = misfit.seen(motion), misfit.fragment.area_mm2
    lies = (seen.away.abs() < ROBUST_MM) & (seen.facing > 0.5)
    meets = (seen.gap.abs() < ROBUST_MM) & (seen.opposing > 0.5) & misfit.apart
    covariance = torch.linalg.inv(misfit.normal_equations(motion, ROBUST_MM)[0])
    residual = seen.away[lies if lies.any() else lies.logical_not()].square().mean().sqrt()
    return Reduced(
        motion,
        float(residual),
        point_mm2 * float(lies.sum()),
        point_mm2 * float(meets.sum()),
        _deviation_mm(seen.arm, covariance),
        float(torch.linalg.eigvalsh(covariance[:3, :3])[-1].sqrt()),
        rival_mm,
    )


def _deviation_mm(arm: Tensor, covariance: Tensor) -> float:
    """Root mean square over points, at (n, 3) from the middle, of their standard deviation."""
    levers = torch.stack([torch.linalg.cross(axis.expand_as(arm), arm) for axis in torch.eye(3).double()], 2)
    motions = torch.cat([levers, torch.eye(3).double().expand(len(arm), 3, 3)], 2)
    return float(torch.einsum("nik,kl,nil->n", motions, covariance, motions).mean().sqrt())
