"""Structures in the labelled cases: their pieces, and the range of their volume."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.storage import open_case
from kneeformer.geometry.components import count_components
from kneeformer.labels import LabelScheme

_WIDER = 2.0  # a few cases do not show the whole range of volumes


@dataclass(frozen=True)
class LabelledStructure:
    """One structure in the labelled cases.

    Attributes:
        components: the most that a case has.
        smallest, largest: voxels in a case.
    """

    name: str
    components: int
    smallest: int
    largest: int

    def is_plausible(self, voxels: int) -> bool:
        """True for a volume within twice the range of the labelled ones."""
        return self.smallest / _WIDER <= voxels <= self.largest * _WIDER


def labelled_structures(cases: Iterable[Path], scheme: LabelScheme) -> list[LabelledStructure]:
    """Each structure of the scheme, in the prepared cases; where none has it, its volume is 0."""
    counts: dict[str, list[tuple[int, int]]] = {name: [] for name in scheme.names}
    for path in cases:
        case = open_case(path.parent, path.name)
        if case.labels is None:
            continue
        labels = case.labels[...]
        for name, found in counts.items():
            mask = scheme.structure(labels, name)
            found.append((count_components(mask), int(mask.sum())))
    return [_summary(name, found) for name, found in counts.items()]


def _summary(name: str, found: list[tuple[int, int]]) -> LabelledStructure:
    components, voxels = zip(*found, strict=True)
    return LabelledStructure(name, max(1, *components), min(voxels), max(voxels))
