"""The same person's bone of the other side: its isolation, and its effect on a completion."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from kneeformer.data.hounsfield import hounsfield_fault
from kneeformer.errors import KneeformerError
from kneeformer.labels import KEEP, LabelScheme
from kneeformer.shape_models.completion import Completed, CompletionModel
from kneeformer.shape_models.priors import Pca
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.tasks.bone_completion.bone_orientation import oriented_bone
from kneeformer.tasks.bone_completion.isolation import Bone, Outline
from kneeformer.tasks.bone_completion.settings import BoneGridSettings
from kneeformer.tasks.cases import Scan

_SHAPE, _SIZE = 1.0, 5.0  # unusual differences, in standard deviations of pairs of sides


def isolated_other_side(
    scan: Scan, scheme: LabelScheme, registration: Registration, settings: BoneGridSettings
) -> tuple[Bone, bool]:
    """Isolate the person's other side, so that exactly one of the two sides is mirrored.

    Returns:
        The bone, and whether its CT can be in Hounsfield units.

    Raises:
        KneeformerError: the other side is not given.
    """
    other = scan.other_side
    if other is None or other.mask is None:
        raise KneeformerError(
            "it is completed by the same person's other side, and there is none: give the folder of those "
            "with --other_side"
        )
    bone = np.where(scheme.foreground(other.mask), KEEP, 0)
    outline = Outline.of(other.image[0], bone, other.grid, settings)
    found = oriented_bone(outline, registration, None, settings, other.side, "the other side")
    return found.bone, hounsfield_fault(other.image[0]) is None


def facts_of_other_side(
    population: Sequence[CompletionModel],
    models: Sequence[CompletionModel],
    seen: Sequence[tuple[Tensor, Tensor]],
    completed: Sequence[Completed],
) -> dict[str, Any]:
    """Measure the effect of the other side, as means over models, for CASE.json.

    Args:
        population, models: models before and after `given_other_side`.
        seen: image and known voxels that each model completed.
    """
    uses = [_use(*one) for one in zip(population, models, seen, completed, strict=True)]
    removed, shape, size = np.mean(uses, 0)
    return {
        "pairs": min(int(model.sides.pairs) for model in population),
        "correlation": round(float(np.mean([float(model.sides.scores) for model in population])), 3),
        "variance_removed": round(float(removed), 3),
        "shape_disagreement": round(float(shape), 2),
        "size_disagreement": round(float(size), 2),
    }


def doubts_of_other_side(facts: dict[str, Any]) -> list[str]:
    """A warning if the sides differ more than those of other people."""
    if not facts or (facts["shape_disagreement"] <= _SHAPE and abs(facts["size_disagreement"]) <= _SIZE):
        return []
    return [
        f"the visible bone and the mirrored other side differ by more than sides usually do "
        f"({facts['shape_disagreement']:.1f} deviations in shape, {abs(facts['size_disagreement']):.1f} in "
        f"size): see whether that is the same person's, and healthy"
    ]


def _use(
    population: CompletionModel,
    person: CompletionModel,
    seen: tuple[Tensor, Tensor],
    completed: Completed,
) -> tuple[float, float, float]:
    """The share of the hidden surface's variance that the other side removed; and how far scores (root mean
    square) and scale are from those expected, in standard deviations.
    """
    registration, hidden = (
        person.registration,
        ~seen[1] & (completed.image[DISTANCE].abs() < max(person.spacing)),
    )
    alone = population.complete(*seen, completed.fit).deviation_mm
    assert isinstance(person.prior, Pca) and completed.deviation_mm is not None and alone is not None
    left = completed.deviation_mm[hidden].square().sum() / alone[hidden].square().sum()
    scores, _ = person.prior.posterior(*seen)
    size = math.log(completed.fit.pose.scale / registration.usual_scale) / float(registration.spread[1])
    return 1 - float(left) if hidden.any() else 0.0, float(scores.square().mean().sqrt()), size
