"""All metrics of one case, structure by structure."""

from collections.abc import Sequence

import numpy as np

from kneeformer.labels import LabelScheme
from kneeformer.metrics.overlap import count, dice, iou, precision, recall, volume_error, volume_mm3
from kneeformer.metrics.surface_distance import surface_distances

Metrics = dict[str, float]
CaseMetrics = dict[str, Metrics]  # metrics of each structure

METRICS = (
    "Dice",
    "F1",
    "IoU",
    "Precision",
    "Recall",
    "HD95_mm",
    "ASSD_mm",
    "VolumeError",
    "Volume_ref_mm3",
    "Volume_pred_mm3",
    "TP",
    "FP",
    "FN",
)


def score_case(
    reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float], scheme: LabelScheme
) -> CaseMetrics:
    """The METRICS of every structure or region of the scheme.

    Voxels the reference ignores become background in both label maps: they are in no count, no volume and
    no surface, except that a structure cut by the ignored zone has its (shared) surface there.

    Args:
        reference: label map, integers, (z, y, x).
        prediction: label map of the same shape.
        spacing_mm: millimetres between voxels along (z, y, x).
        scheme: names of the structures and their label values.

    Returns:
        structure -> metric -> value; NaN where the case says nothing about it (the rule of `overlap`).

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    if scheme.ignore is not None:
        scored = scheme.scored(reference)
        reference, prediction = np.where(scored, reference, 0), np.where(scored, prediction, 0)
    return {
        name: score_masks(scheme.structure(reference, name), scheme.structure(prediction, name), spacing_mm)
        for name in scheme.names
    }


def score_masks(reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float]) -> Metrics:
    """The METRICS of one structure, from two boolean masks of one shape; units in the names.

    Raises:
        ValueError: the shapes differ, or an array is not boolean.
    """
    counts = count(reference, prediction)
    distances = surface_distances(reference, prediction, spacing_mm)
    return {
        "Dice": dice(counts),
        "F1": dice(counts),
        "IoU": iou(counts),
        "Precision": precision(counts),
        "Recall": recall(counts),
        "HD95_mm": distances.hd95,
        "ASSD_mm": distances.assd,
        "VolumeError": volume_error(counts),
        "Volume_ref_mm3": volume_mm3(counts.reference, spacing_mm),
        "Volume_pred_mm3": volume_mm3(counts.predicted, spacing_mm),
        "TP": counts.tp,
        "FP": counts.fp,
        "FN": counts.fn,
    }
