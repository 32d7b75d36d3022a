"""Recipes for a plan: our own, as the tasks propose it, and the published ones that it is measured against.

A preset is applied to all that the tasks propose for a dataset, and names no task.
"""

from collections.abc import Callable, Mapping

from kneeformer.errors import KneeformerError
from kneeformer.plan import BoneConfiguration, Configuration, CropConfiguration
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.knee_paper import knee_paper
from kneeformer.planning.tibia_paper import tibia_paper

Planned = Mapping[str, Configuration]  # by name
Preset = Callable[[Planned, Fingerprint, Budget], Planned]


def own(proposed: Planned, fingerprint: Fingerprint, budget: Budget) -> Planned:
    """As proposed."""
    return proposed


def paper(proposed: Planned, fingerprint: Fingerprint, budget: Budget) -> Planned:
    """The published recipe for knees or, where the dataset is of bones, for these; what finds them stays."""
    bones = {n: c for n, c in proposed.items() if isinstance(c, BoneConfiguration)}
    crops = {n: c for n, c in proposed.items() if isinstance(c, CropConfiguration)}
    if bones:
        return {**tibia_paper(bones, fingerprint, budget), **crops}
    return {name: knee_paper(crop, fingerprint, budget) for name, crop in crops.items()}


PRESETS: dict[str, Preset] = {"default": own, "paper": paper}


def preset_named(name: str) -> Preset:
    """Raises KneeformerError: no such preset."""
    if name not in PRESETS:
        raise KneeformerError(f"planner {name!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]
