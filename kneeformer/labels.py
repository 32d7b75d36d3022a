"""What the numbers of a label map mean: structures, overlapping regions, and voxels to ignore."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kneeformer.errors import KneeformerError

LabelValues = dict[str, int | list[int]]
Side = Literal["left", "right"]

KEEP, COMPLETE = 1, 2  # values of a completion's mask: bone to keep, region to complete


@dataclass(frozen=True)
class LabelScheme:
    """The labels of dataset.json, as nnU-Net writes them.

    A plain scheme has one output channel a label, background first, and the classes exclude each
    other. A scheme with regions (a label given as a list of values) has one output channel a region,
    without background; regions may overlap.

    Attributes:
        names: name of each foreground output channel.
        values: label values that make up each foreground output channel.
        painted: value written for each foreground output channel when a label map is made, in the
            order of `names` (regions: `regions_class_order`, later ones painted over earlier ones).
        has_regions: outputs overlap (sigmoid) instead of excluding each other (softmax).
        ignore: value of voxels that count neither in the loss nor in a metric, or None.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    painted: tuple[int, ...]
    has_regions: bool
    ignore: int | None

    @classmethod
    def from_json(cls, labels: LabelValues, regions_class_order: list[int] | None = None) -> "LabelScheme":
        """Raises KneeformerError: no background, no structure, or regions without an order."""
        named = dict(labels)
        background, ignore = named.pop("background", None), named.pop("ignore", None)
        if background != 0:
            raise KneeformerError('labels must contain "background": 0')
        if not named:
            raise KneeformerError("labels name no structure besides the background")
        if isinstance(ignore, list):
            raise KneeformerError('the "ignore" label must be one number')
        values = tuple(tuple(v) if isinstance(v, list) else (v,) for v in named.values())
        has_regions = any(isinstance(v, list) for v in named.values())
        if not has_regions:
            if ignore is not None and ignore <= max(v[0] for v in values):
                raise KneeformerError('the "ignore" label must be the highest number')
            return cls(tuple(named), values, tuple(v[0] for v in values), False, ignore)
        if regions_class_order is None or len(regions_class_order) != len(named):
            raise KneeformerError(
                f"labels with regions (lists of values) need regions_class_order, {len(named)} numbers: the "
                f"value to write for {', '.join(named)}, later ones over earlier ones"
            )
        return cls(tuple(named), values, tuple(regions_class_order), True, ignore)

    @property
    def outputs(self) -> int:
        """Channels of the network's output."""
        return len(self.names) + (0 if self.has_regions else 1)

    def declared(self) -> set[int]:
        """Every value a label file may hold."""
        found = {0, *(v for group in self.values for v in group)}
        return found if self.ignore is None else found | {self.ignore}

    def structure(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Boolean mask of one structure or region of a label map; same shape."""
        group = self.values[self.names.index(name)]
        return labels == group[0] if len(group) == 1 else np.isin(labels, group)

    def scored(self, labels: np.ndarray) -> np.ndarray:
        """Boolean mask of the voxels that count (not ignored); same shape."""
        return np.ones(labels.shape, bool) if self.ignore is None else labels != self.ignore
