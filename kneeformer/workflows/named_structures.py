"""The structures of many segmentations, matched by the names of their segments."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kneeformer.data.segment_names import plain_name
from kneeformer.data.segmentation_file import Segment, Segmentation
from kneeformer.data.terminology import Colour
from kneeformer.labels import LabelValues

BACKGROUND, IGNORE = "background", "ignore"  # of dataset.json: no structures
_PART = 0.95  # share of a part's voxels that lie in the whole


@dataclass(frozen=True)
class NamedStructure:
    """A structure of the segmentations.

    Attributes:
        key: its plain name.
        name: spelt as in the first file.
        value: its label value.
        cases: number of files that have it.
        parts_of: keys of the structures that contain it, the largest first.
    """

    key: str
    name: str
    value: int
    cases: int
    colour: Colour | None = None
    parts_of: tuple[str, ...] = ()


def named_structures(files: Iterable[Sequence[Segment]]) -> list[NamedStructure]:
    """The structures of all files, by value; with voxels to ignore, above them, and without background.

    Values are those of the files if the files agree and no two structures share one; else 1, 2, ... in the
    order in which names are found.
    """
    first: dict[str, Segment] = {}
    values, cases = defaultdict[str, set[int]](set), Counter[str]()
    for segments in files:
        for segment in segments:
            if (key := plain_name(segment.name)) == BACKGROUND:
                continue
            first.setdefault(key, segment)
            values[key].add(segment.value)
            cases[key] += 1
    own = {key: min(of_key) for key, of_key in values.items()}
    agree = all(len(v) == 1 for v in values.values()) and len(set(own.values())) == len(own)
    if not agree or 0 in own.values():
        own = {key: number for number, key in enumerate(first, 1)}
    if IGNORE in own:
        own[IGNORE] = max((value for key, value in own.items() if key != IGNORE), default=0) + 1
        first[IGNORE] = replace(first[IGNORE], name=IGNORE)
    found = [NamedStructure(k, s.name, own[k], cases[k], s.colour) for k, s in first.items()]
    return sorted(found, key=lambda s: s.value)


def with_parts(
    structures: list[NamedStructure], segmentations: Iterable[Segmentation]
) -> list[NamedStructure]:
    """The structures with `parts_of` filled in, those that contain others first.

    A structure is a part of a larger one if 95 % of its voxels, over all segmentations, lie in it. Voxels to
    ignore are a part of none.
    """
    sizes, shared = Counter[str](), Counter[tuple[str, str]]()
    for segmentation in segmentations:
        masks = masks_of(segmentation)
        masks.pop(IGNORE, None)
        for key, mask in masks.items():
            sizes[key] += int(np.count_nonzero(mask))
            for other, beside in masks.items():
                if other != key:
                    shared[key, other] += int(np.count_nonzero(mask & beside))
    found = []
    for structure in structures:
        key = structure.key
        around = [
            s.key
            for s in structures
            if sizes[s.key] > sizes[key] > 0 and shared[key, s.key] >= _PART * sizes[key]
        ]
        around.sort(key=lambda k: -sizes[k])
        found.append(replace(structure, parts_of=tuple(around)))
    return sorted(found, key=lambda s: (s.key == IGNORE, len(s.parts_of), s.value))


def labels_of(structures: Sequence[NamedStructure]) -> tuple[LabelValues, list[int] | None]:
    """`labels` and `regions_class_order` of dataset.json: a structure that contains others is a region."""
    labels: LabelValues = {}
    for structure in structures:
        inside = [s.value for s in structures if structure.key in s.parts_of]
        labels[structure.name] = [structure.value, *inside] if inside else structure.value
    regions = any(isinstance(value, list) for value in labels.values())
    return labels, [s.value for s in structures if s.key != IGNORE] if regions else None


def painted(
    structures: Sequence[NamedStructure], masks: dict[str, np.ndarray], shape: tuple[int, ...]
) -> tuple[np.ndarray, list[str]]:
    """Paint a label map, each structure over those before it.

    Returns:
        (z, y, x) uint8 or uint16 labels; and a line for each pair of structures that share voxels although
        neither is a part of the other.
    """
    labels = np.zeros(shape, np.min_scalar_type(max(s.value for s in structures)))
    lines = []
    for number, structure in enumerate(structures):
        if (mask := masks.get(structure.key)) is None:
            continue
        for before in structures[:number]:
            if before.key in structure.parts_of:
                continue
            if shared := int(np.count_nonzero(labels[mask] == before.value)):
                lines.append(
                    f"{shared} voxels are of {before.name} and of {structure.name}: taken as {structure.name}"
                )
        labels[mask] = structure.value
    return labels, lines


def masks_of(segmentation: Segmentation) -> dict[str, np.ndarray]:
    """(z, y, x) bool masks of the segments by plain name; segments of the same name are merged."""
    masks: dict[str, np.ndarray] = {}
    for segment in segmentation.segments:
        key = plain_name(segment.name)
        mask = segmentation.mask(segment)
        masks[key] = masks[key] | mask if key in masks else mask
    return masks
