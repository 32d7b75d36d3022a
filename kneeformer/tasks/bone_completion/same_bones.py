"""Training bones that are one bone under two names: a model takes them for two people, and is too sure."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from kneeformer.shape_models.registration import DISTANCE

_NEAR_MM = 5.0  # the prototype's surface, where bones are compared
_SAME_MM = 0.2  # of two people the most alike bones are a millimetre apart


def same_bones(registered: Tensor, prototype: Tensor, people: Sequence[str]) -> list[tuple[int, int, float]]:
    """Pairs of bones of different people, by their numbers, that are the same; and how many mm apart.

    Args:
        registered: (bones, 2, z, y, x), to the prototype.
        prototype: (2, z, y, x).
        people: whose each bone is.
    """
    near = prototype[DISTANCE].abs() < _NEAR_MM
    distances = registered[:, DISTANCE, near].double()
    apart = torch.cdist(distances, distances) / max(1, distances.shape[1]) ** 0.5
    pairs = combinations(range(len(people)), 2)
    return [(a, b, float(apart[a, b])) for a, b in pairs if people[a] != people[b] and apart[a, b] < _SAME_MM]
