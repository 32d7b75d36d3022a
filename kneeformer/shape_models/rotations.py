"""A grid of all rotations, and the choice of those that may register a bone to the prototype.

Least squares find the nearest minimum, and a bone may have any orientation in its scan: the patient may be
prone or feet first, a specimen may lie across the table. So every rotation of a grid, with a few shifts, is
tested on some points of the bone's surface, and least squares begin at the best ones.
"""

import math
from functools import cache
from itertools import product

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from kneeformer.shape_models.least_squares import LeastSquares
from kneeformer.shape_models.pose import Pose, sample

ALIKE = math.radians(35)  # closer rotations lead to the same minimum
_STEPS = 4  # of the grid, from the middle of a face to its edge: 2080 rotations, none farther than 25 degrees
_POINTS = 150
_FAR_MM = 8.0  # larger distances from the surface are clipped
_SHIFT = 0.12  # of the grid's extent along each axis: the middle of the visible part is not the bone's
_PROMISING = 10


def promising(problem: LeastSquares) -> list[Pose]:
    """Initial poses, no two of them similar: the identity, then the best.

    Args:
        problem: its surface around (0, 0, 0) mm.
    """
    surface, turns = problem.surface.thinned(_POINTS), all_rotations()
    turned = torch.einsum("rij,nj->rni", turns.to(surface.points), surface.points)
    shifts = _shifts(problem)
    misfits = []
    for shift in shifts:
        moved = (turned + shift.to(turned)).reshape(-1, 3)
        seen = sample(problem.family.distance[None], moved, problem.spacing)[0].reshape(len(turns), -1)
        misfits.append((seen - surface.distance).abs().clamp(max=_FAR_MM).square().mean(1))
    least, which = torch.stack(misfits).min(0)
    chosen = [Pose.identity()]
    for index in least.argsort().tolist():
        if all(angle_between(turns[index], other.rotation) > ALIKE for other in chosen):
            chosen.append(Pose(turns[index], shifts[int(which[index])], 1.0))
        if len(chosen) > _PROMISING:
            break
    return chosen


def angle_between(one: Tensor, other: Tensor) -> float:
    """Radians from one rotation (3, 3) to another."""
    return float(torch.arccos((((one * other).sum() - 1) / 2).clamp(-1, 1)))


@cache
def all_rotations() -> Tensor:
    """(n, 3, 3) float64: unit quaternions through a grid on the faces of a cube in four dimensions."""
    steps = range(-_STEPS, _STEPS + 1)
    on_a_face = [q for q in product(steps, repeat=4) if max(map(abs, q)) == _STEPS]
    half = [(x, y, z, w) for w, x, y, z in on_a_face if (w, x, y, z) > (0, 0, 0, 0)]  # -q turns as q does
    return torch.from_numpy(Rotation.from_quat(half).as_matrix())


def _shifts(problem: LeastSquares) -> list[Tensor]:
    """No shift, and one along each axis in both directions."""
    size = problem.family.distance.shape
    steps = torch.diag(torch.tensor([_SHIFT * n * mm for n, mm in zip(size, problem.spacing, strict=True)]))
    return [torch.zeros(3, dtype=torch.float64), *steps.double(), *-steps.double()]
