"""Active learning: which images to label next, by uncertainty and by difference from each other.

After Yang et al., "Suggestive Annotation" (2017), and Sener and Savarese, "Core-Set" (2018).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kneeformer.geometry.orientation import turn

_FOREGROUND = 0.1  # probability from which a voxel may belong to a structure
_CELLS = 8  # of a small image, along each axis
_ORIENTATION = "SPL"  # of small images, the same for all


@dataclass(frozen=True)
class Suggestion:
    """A case to label.

    Attributes:
        uncertainty: of the network, 0 to 1.
        distance: of its small image to the nearest labelled or previously suggested one.
    """

    case: str
    uncertainty: float
    distance: float


def uncertainty(probabilities: np.ndarray, regions: bool) -> float:
    """Mean entropy of the voxels that may belong to a structure, 1 for equal odds; 1 if there are none.

    Args:
        probabilities: (outputs, z, y, x): of each region, or of exclusive labels with background first.
        regions: whether outputs overlap.
    """
    p = probabilities.astype(np.float32)
    if regions:
        there = (p > _FOREGROUND).any(0)
        entropy = (_plogp(p[:, there]) + _plogp(1 - p[:, there])).mean(0) / np.log(2)
    else:
        there = 1 - p[0] > _FOREGROUND
        entropy = _plogp(p[:, there]).sum(0) / np.log(len(p))
    return float(entropy.mean()) if there.any() else 1.0


def small_image(image: np.ndarray, orientation: str) -> np.ndarray:
    """(512,) means of an image (z, y, x) in 8 x 8 x 8 cells along the patient's axes, standardised."""
    cells = turn(image, orientation, _ORIENTATION).astype(np.float64)
    for axis in range(3):
        edges = np.linspace(0, cells.shape[axis], _CELLS + 1)
        parts = [
            cells.take(range(int(low), max(int(low) + 1, int(high))), axis).mean(axis)
            for low, high in pairwise(edges)
        ]
        cells = np.stack(parts, axis)
    return np.asarray((cells - cells.mean()) / max(cells.std(), 1e-12)).ravel()


def suggest(
    uncertain: Mapping[str, float],
    images: Mapping[str, np.ndarray],
    labelled: Sequence[np.ndarray],
    number: int,
) -> list[Suggestion]:
    """Choose cases: among twice as many of the least certain, one by one the farthest from all known ones.

    Args:
        uncertain: uncertainty by case.
        images: small images by case.
        labelled: small images of the cases that are labelled already.
    """
    waiting = sorted(uncertain, key=lambda case: (-uncertain[case], case))[: 2 * number]
    known = list(labelled)
    chosen: list[Suggestion] = []
    while waiting and len(chosen) < number:
        distances = [min((float(np.linalg.norm(images[c] - k)) for k in known), default=0.0) for c in waiting]
        farthest = int(np.argmax(distances))
        case = waiting.pop(farthest)
        chosen.append(Suggestion(case, uncertain[case], distances[farthest]))
        known.append(images[case])
    return chosen


def _plogp(p: np.ndarray) -> np.ndarray:
    """-p log p, 0 at 0."""
    return np.asarray(-p * np.log(np.maximum(p, 1e-12)))
