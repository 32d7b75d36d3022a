"""Structures in the labelled cases: their number of components and range of volumes."""

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
        components: largest number in a case.
        smallest, largest: voxels per case.
    """

    name: str
    components: int
    smallest: int
    largest: int

    def is_plausible(self, voxels: int) -> bool:
        """True for a volume within twice the range of the labelled ones."""
        return self.smallest / _WIDER <= voxels <= self.largest * _WIDER


def labelled_structures(cases: Iterable[Path], scheme: LabelScheme) -> list[LabelledStructure]:
    """Measure each structure of the scheme in the prepared cases; one that is in none has volume 0."""
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
