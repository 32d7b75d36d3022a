"""Overlap of two masks: counts, ratios of counts, and volumes.

Every function takes boolean arrays of one shape, in any number of dimensions, or the `Counts` of such a
pair. Swapping reference and prediction leaves Dice and IoU as they are and swaps precision and recall.

The empty-mask rule, here and in `surface_distance`:

=============  =============  ============================  =====================  ====================
reference      prediction     Dice, IoU, precision, recall  HD95, ASSD             volume error
=============  =============  ============================  =====================  ====================
empty          empty          NaN                           NaN                    NaN
empty          found          0                             diagonal of the image  NaN
found          empty          0                             diagonal of the image  -1
=============  =============  ============================  =====================  ====================

NaN means that the case says nothing about the structure: it is left out of means and written as null.
If only one mask is empty the prediction is wrong and gets the worst value, for precision and recall too (one
of them is 0 / 0), so that all overlap metrics are averaged over the same cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kneeformer.metrics.metric import BY_OVERLAP, Metric

DICE = Metric(
    name="Dice",
    meaning="2 TP / (2 TP + FP + FN); of voxels, F1 is the same number",
    better="higher",
    empty=BY_OVERLAP,
)
IOU = Metric(name="IoU", meaning="TP / (TP + FP + FN)", better="higher", empty=BY_OVERLAP)
PRECISION = Metric(name="Precision", meaning="TP / (TP + FP)", better="higher", empty=BY_OVERLAP)
RECALL = Metric(name="Recall", meaning="TP / (TP + FN)", better="higher", empty=BY_OVERLAP)
VOLUME_ERROR = Metric(
    name="VolumeError",
    meaning="(predicted - reference) / reference volume",
    better="lower",
    empty="undefined if the reference is empty, -1 if the prediction alone is",
    mean="absolute values",
    form=".1%",
)
REFERENCE_VOLUME = Metric(
    name="Volume_ref_mm3", meaning="volume of the reference", unit="mm3", empty="0", form=".0f"
)
PREDICTED_VOLUME = Metric(
    name="Volume_pred_mm3", meaning="volume of the prediction", unit="mm3", empty="0", form=".0f"
)
TRUE_POSITIVES = Metric(name="TP", meaning="true positive voxels", empty="0", mean=None, form=".0f")
FALSE_POSITIVES = Metric(name="FP", meaning="false positive voxels", empty="0", mean=None, form=".0f")
FALSE_NEGATIVES = Metric(name="FN", meaning="false negative voxels", empty="0", mean=None, form=".0f")


@dataclass(frozen=True)
class Counts:
    """Voxels of a confusion matrix: true and false positives, false negatives."""

    tp: int
    fp: int
    fn: int

    @property
    def reference(self) -> int:
        """Voxels of the reference mask."""
        return self.tp + self.fn

    @property
    def predicted(self) -> int:
        """Voxels of the predicted mask."""
        return self.tp + self.fp

    @property
    def union(self) -> int:
        """Voxels in either mask."""
        return self.tp + self.fp + self.fn


def count(reference: np.ndarray, prediction: np.ndarray) -> Counts:
    """Confusion matrix of two boolean arrays.

    Raises:
        ValueError: the shapes differ (nothing is broadcast), or an array is not boolean.
    """
    check_masks(reference, prediction)
    tp = int(np.count_nonzero(reference & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    return Counts(tp, fp, fn)


def dice(counts: Counts) -> float:
    """2 TP / (2 TP + FP + FN) (Dice 1945), in 0..1. Counted over voxels, F1 is the same number."""
    return _share(2 * counts.tp, counts.reference + counts.predicted, counts)


def iou(counts: Counts) -> float:
    """Intersection over union, TP / (TP + FP + FN) (Jaccard 1901), in 0..1; Dice / (2 - Dice)."""
    return _share(counts.tp, counts.union, counts)


def precision(counts: Counts) -> float:
    """Share of the prediction that is right, TP / (TP + FP), in 0..1."""
    return _share(counts.tp, counts.predicted, counts)


def recall(counts: Counts) -> float:
    """Share of the reference that is found, TP / (TP + FN), in 0..1."""
    return _share(counts.tp, counts.reference, counts)


def volume_error(counts: Counts) -> float:
    """(predicted - reference) / reference volume: 0.1 is 10 % too large, -1 is nothing found.

    NaN where the reference is empty: there is no volume to relate to.
    """
    return (counts.predicted - counts.reference) / counts.reference if counts.reference else math.nan


def volume_mm3(voxels: int, spacing_mm: Sequence[float]) -> float:
    """Volume of a number of voxels, in cubic millimetres."""
    return voxels * math.prod(spacing_mm)


def check_masks(reference: np.ndarray, prediction: np.ndarray) -> None:
    """Raises ValueError: the shapes differ, or an array is not boolean."""
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    if reference.dtype != bool or prediction.dtype != bool:
        raise ValueError(f"masks must be boolean, not {reference.dtype} and {prediction.dtype}")


def _share(part: int, whole: int, counts: Counts) -> float:
    """part / whole under the empty-mask rule."""
    if counts.union == 0:
        return math.nan
    return part / whole if whole else 0.0
