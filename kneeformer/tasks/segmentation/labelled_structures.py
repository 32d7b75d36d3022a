"""Structures in the labelled cases: their pieces, and the range of their volume."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.storage import open_case
from kneeformer.geometry.components import count_components
from kneeformer.labels import LabelScheme


@dataclass(frozen=True)
class LabelledStructure:
    """One structure in the labelled cases.

    Attributes:
        components: the most that a case has.
        smallest, largest: volume of a case, as a part of the mean volume.
    """

    name: str
    components: int
    smallest: float
    largest: float


def labelled_structures(cases: Iterable[Path], scheme: LabelScheme) -> list[LabelledStructure]:
    """Each structure of the scheme, in the prepared cases that have it.

    A structure that no case has may have one component, and any volume.
    """
    counts: dict[str, list[tuple[int, int]]] = {name: [] for name in scheme.names}
    for path in cases:
        case = open_case(path.parent, path.name)
        if case.labels is None:
            continue
        labels = case.labels[...]
        for name, found in counts.items():
            mask = scheme.structure(labels, name)
            if mask.any():
                found.append((count_components(mask), int(mask.sum())))
    return [_summary(name, found) for name, found in counts.items()]


def _summary(name: str, found: list[tuple[int, int]]) -> LabelledStructure:
    if not found:
        return LabelledStructure(name, 1, 0.0, float("inf"))
    components, volumes = zip(*found, strict=True)
    mean = sum(volumes) / len(volumes)
    return LabelledStructure(name, max(components), min(volumes) / mean, max(volumes) / mean)
