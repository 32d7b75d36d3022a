"""Meaning of the numbers of a label map: structures, overlapping regions, and voxels to ignore."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kneeformer.errors import KneeformerError

LabelValues = dict[str, int | list[int]]
Values = tuple[int, ...]

KEEP, COMPLETE = 1, 2  # values of a completion's mask: bone to keep, region to complete
FRAGMENTS = range(3, 21)  # and displaced fragments, one per value
HIGHEST = 2**31 - 1  # label maps are at most int32


@dataclass(frozen=True)
class LabelScheme:
    """The labels of dataset.json, as nnU-Net writes them.

    A plain scheme has one output channel per label, background first, and labels exclude each other; a
    list of values is one label. With `regions_class_order`, lists of values are regions that may overlap: one
    output channel per region, without background.

    Attributes:
        names: name of each foreground output channel.
        values: label values that make up each foreground output channel.
        painted: value written for each foreground output channel when a label map is made, in the
            order of `names` (regions: `regions_class_order`, later ones painted over earlier ones).
        has_regions: outputs overlap (sigmoid) instead of excluding each other (softmax).
        ignore: value of voxels that count neither in the loss nor in a metric, or None.
        background: values that count as background: 0, and structures to leave out.
    """

    names: tuple[str, ...]
    values: tuple[Values, ...]
    painted: Values
    has_regions: bool
    ignore: int | None
    background: Values = (0,)

    @classmethod
    def from_json(cls, labels: LabelValues, regions_class_order: list[int] | None = None) -> "LabelScheme":
        """Read the labels of dataset.json; none at all belong to a task without label maps.

        Raises:
            KneeformerError: no background or no structure; a value outside 1 to HIGHEST, or with two names;
                regions without an order, or with one that would lose a region when it is painted.
        """
        if not labels:
            return cls((), (), (), False, None)
        named = dict(labels)
        background, ignore = named.pop("background", []), named.pop("ignore", None)
        unused = tuple(background) if isinstance(background, list) else (background,)
        if 0 not in unused:
            raise KneeformerError('labels must contain "background": 0')
        if not named:
            raise KneeformerError("labels name no structure besides the background")
        if isinstance(ignore, list):
            raise KneeformerError('the "ignore" label must be one number')
        names = tuple(named)
        values = tuple(tuple(v) if isinstance(v, list) else (v,) for v in named.values())
        _require_distinct(names, values, ignore)
        of_structures = [v for group in values for v in group]
        if both := sorted({*unused} & {*of_structures, ignore}):
            raise KneeformerError(f"{both[0]} is the background's and has another name; remove one of them")
        merges = regions_class_order is None and len({*of_structures}) == len(of_structures)
        if merges or not any(isinstance(v, list) for v in named.values()):
            return cls(names, values, tuple(v[0] for v in values), False, ignore, unused)
        if regions_class_order is None or len(regions_class_order) != len(named):
            raise KneeformerError(
                f"labels with regions (lists of values) need regions_class_order, {len(named)} numbers: the "
                f"value to write for {', '.join(named)}, later ones over earlier ones"
            )
        _require_painted_back(names, values, tuple(regions_class_order))
        return cls(names, values, tuple(regions_class_order), True, ignore, unused)

    @property
    def outputs(self) -> int:
        """Channels of the network's output."""
        return len(self.names) + (0 if self.has_regions else 1)

    def declared(self) -> set[int]:
        """Every value a label file may hold."""
        found = {*self.background, *(v for group in self.values for v in group)}
        return found if self.ignore is None else found | {self.ignore}

    def merged(self) -> "LabelScheme":
        """The scheme in which all structures are one, of value 1, and nothing is ignored."""
        return LabelScheme((" and ".join(self.names),), ((1,),), (1,), False, None)

    def simplified(self, labels: np.ndarray) -> np.ndarray:
        """The label map with one value a structure, the first, and 0 for all background; same shape and type.

        Of regions, which share values, only the background is simplified.
        """
        groups = () if self.has_regions else self.values
        found = labels
        for first, *others in ((0, *(v for v in self.background if v)), *groups):
            if others:
                found = np.where(np.isin(labels, others), labels.dtype.type(first), found)
        return found

    def structure(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Boolean mask of one structure or region of a label map; same shape."""
        group = self.values[self.names.index(name)]
        return labels == group[0] if len(group) == 1 else np.isin(labels, group)

    def foreground(self, labels: np.ndarray) -> np.ndarray:
        """Boolean mask of the voxels of any structure; same shape."""
        found: np.ndarray = self.scored(labels)
        for value in self.background:
            found &= labels != value
        return found

    def scored(self, labels: np.ndarray) -> np.ndarray:
        """Boolean mask of the voxels that count (not ignored); same shape."""
        return np.ones(labels.shape, bool) if self.ignore is None else labels != self.ignore


def _require_distinct(names: tuple[str, ...], values: tuple[Values, ...], ignore: int | None) -> None:
    """Raises KneeformerError: a value outside 1 to HIGHEST, or two structures of the same values."""
    named: dict[frozenset[int], list[str]] = defaultdict(list)
    for name, group in zip(names, values, strict=True):
        named[frozenset(group)].append(name)
        if not group:
            raise KneeformerError(f"the region {name!r} is empty; list the values that it is made of")
        if 0 in group:
            raise KneeformerError(f"{name!r} has the value 0, which is the background's; give it another")
        if wrong := [v for v in group if not 0 < v <= HIGHEST]:
            raise KneeformerError(
                f"{name!r} has the value {wrong[0]}; give it one of 1 to {HIGHEST}, in the label maps as well"
            )
    for held, those in named.items():
        if len(those) > 1:
            raise KneeformerError(
                f"{' and '.join(map(repr, those))} are both {', '.join(map(str, sorted(held)))}; remove "
                f"one, or give it a value of its own"
            )
    if ignore is not None and not max(max(group) for group in values) < ignore <= HIGHEST:
        raise KneeformerError(f'the "ignore" label must be the highest number, up to {HIGHEST}')


def _require_painted_back(names: tuple[str, ...], values: tuple[Values, ...], painted: Values) -> None:
    """Raises KneeformerError: regions painted in their order, later over earlier, would be other regions."""
    strange = [
        (name, value, group)
        for name, value, group in zip(names, painted, values, strict=True)
        if value not in group
    ]
    if strange:
        name, value, group = strange[0]
        fault = f"it writes {value} for {name!r}, which is made of {', '.join(map(str, group))}"
    else:
        lost = _lost(values, painted)
        if lost is None:
            return
        before, after = (" and ".join(repr(names[i]) for i in _regions_of(v, values)) for v in lost)
        fault = f"a voxel of {before} ({lost[0]}) would become one of {after} ({lost[1]})"
    raise KneeformerError(f"regions_class_order {list(painted)}: {fault}; {_remedy(names, values)}")


def _lost(values: tuple[Values, ...], painted: Values) -> tuple[int, int] | None:
    """A value that painting turns into one of other regions, and the other value; None where none is."""
    for value in sorted({v for group in values for v in group}):
        became = painted[max(_regions_of(value, values))]
        if _regions_of(value, values) != _regions_of(became, values):
            return value, became
    return None


def _remedy(names: tuple[str, ...], values: tuple[Values, ...]) -> str:
    """Advice on the order: for the regions as they are listed, else with larger ones before smaller."""
    if (order := _right_order(values)) is not None:
        return f"write {order}"
    by_size = sorted(range(len(names)), key=lambda i: -len(set(values[i])))
    if (order := _right_order(tuple(values[i] for i in by_size))) is not None:
        sequence = ", ".join(names[i] for i in by_size)
        return f"list the labels in the order {sequence}, larger regions first, and write {order}"
    return (
        "no order works, since these regions overlap and neither holds the other: name their parts as labels "
        "of their own"
    )


def _right_order(values: tuple[Values, ...]) -> list[int] | None:
    """For each region a value that no later region has, if there is one; None where that loses a region."""
    own = [[v for v in group if max(_regions_of(v, values)) == i] for i, group in enumerate(values)]
    order = [min(alone or group) for alone, group in zip(own, values, strict=True)]
    return order if _lost(values, tuple(order)) is None else None


def _regions_of(value: int, values: Sequence[Values]) -> tuple[int, ...]:
    return tuple(i for i, group in enumerate(values) if value in group)
