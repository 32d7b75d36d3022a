"""Prediction by the choice of kf_find_best_configuration: one configuration, or several averaged, with only
the largest components of structures for which that helps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kneeformer.errors import KneeformerError
from kneeformer.geometry.components import largest_components
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import Outputs, Scan
from kneeformer.workflows.predict import Predictor


@dataclass(frozen=True)
class ChosenPredictor(Predictor):
    """A predictor of label maps, averaged with others and post-processed.

    Attributes:
        others: further configurations, whose probabilities are averaged with its own.
        largest: number of largest components to keep, by structure; other structures keep all.
    """

    others: tuple[Predictor, ...] = ()
    largest: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, predictors: Sequence[Predictor], largest: Mapping[str, int]) -> "ChosenPredictor":
        """Average configurations with equal weights. Raises as `refuse_mixed_outputs`."""
        refuse_mixed_outputs(predictors)
        first, *others = predictors
        return cls(**vars(first), others=tuple(others), largest=largest)

    def identity(self) -> dict[str, Any]:
        others = [other.identity() for other in self.others]
        return {**super().identity(), "averaged_with": others, "largest_components": dict(self.largest)}

    def on(self, device: str | None) -> "Predictor":
        here = super().on(device)
        return replace(here, others=tuple(other.on(device) for other in self.others))  # type: ignore[call-arg]

    def predict_scan(self, scan: Scan, probabilities: bool = False) -> Outputs:
        scheme = self.plan.dataset.scheme
        outputs = super().predict_scan(scan, probabilities or bool(self.others))
        volumes = dict(outputs.volumes)
        if self.others:
            found = [volumes["_probabilities"]]
            found += [o.predict_scan(scan, True).volumes["_probabilities"] for o in self.others]
            mean = mean_probabilities(found)
            volumes[""] = most_probable(mean, scheme)
            volumes |= {"_probabilities": mean}
        if not probabilities:
            volumes.pop("_probabilities", None)
        volumes[""] = keep_largest(volumes[""], scheme, self.largest)
        return replace(outputs, volumes=volumes)


def refuse_mixed_outputs(predictors: Sequence[Predictor]) -> None:
    """Raises KneeformerError: of two, one number of a channel or an output means two things."""
    first, *others = (predictor.plan for predictor in predictors)
    for other in others:
        for what, known, found in (
            ("channels", first.dataset.channel_names, other.dataset.channel_names),
            ("structures", first.dataset.scheme, other.dataset.scheme),
        ):
            if found != known:
                raise KneeformerError(
                    f"{other.plans_name} and {first.plans_name} cannot be averaged: their {what} differ, "
                    f"or are in another order; choose among configurations of one of them, with -p"
                )


def mean_probabilities(found: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of (outputs, z, y, x) float16 arrays, as float16; computed output by output."""
    mean = np.empty_like(found[0])
    for output, maps in enumerate(zip(*found, strict=True)):
        mean[output] = sum(m.astype(np.float32) for m in maps) / len(maps)
    return mean


def most_probable(probabilities: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """The label map of probabilities.

    Args:
        probabilities: (outputs, z, y, x): of exclusive labels, background first; or of each region.

    Returns:
        (z, y, x), the smallest unsigned type that holds every label.
    """
    labels = np.zeros(probabilities.shape[1:], np.min_scalar_type(max(scheme.painted)))
    if scheme.has_regions:
        for value, region in zip(scheme.painted, probabilities, strict=True):
            labels[region > 0.5] = value
        return labels
    return np.asarray(np.array((0, *scheme.painted), labels.dtype)[probabilities.argmax(0)])


def keep_largest(labels: np.ndarray, scheme: LabelScheme, largest: Mapping[str, int]) -> np.ndarray:
    """A label map whose structures keep only their largest components; the rest is background.

    Args:
        labels: (z, y, x); exclusive labels where anything is removed.
        largest: number of components to keep, by structure.
    """
    kept = np.array(labels)
    for name, number in largest.items():
        structure = scheme.structure(labels, name)
        kept[structure & ~largest_components(structure, number)] = 0
    return kept
