"""All metrics of label maps, structure by structure."""

from collections.abc import Sequence

import numpy as np

from kneeformer.labels import LabelScheme
from kneeformer.metrics import overlap
from kneeformer.metrics.metric import Values
from kneeformer.metrics.surface_distance import ASSD, HD95, surface_distances


def score_case(
    reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float], scheme: LabelScheme
) -> dict[str, Values]:
    """The metrics of `score_masks` of every structure or region of the scheme.

    Voxels that the reference ignores become background in both label maps, for counts, volumes and surfaces.
    A structure that the ignored zone cuts has the same surface there in both.

    Args:
        reference: label map, integers, (z, y, x).
        prediction: label map of the same shape.
        spacing_mm: millimetres between voxels along (z, y, x).
        scheme: names of the structures and their label values.

    Returns:
        structure -> metric -> value; NaN where it is undefined (the rule of `overlap`).

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


def score_masks(reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float]) -> Values:
    """Overlap, surface distances and volumes of one structure, from two boolean masks of one shape.

    Raises:
        ValueError: the shapes differ, or an array is not boolean.
    """
    counts = overlap.count(reference, prediction)
    distances = surface_distances(reference, prediction, spacing_mm)
    return {
        overlap.DICE: overlap.dice(counts),
        overlap.IOU: overlap.iou(counts),
        overlap.PRECISION: overlap.precision(counts),
        overlap.RECALL: overlap.recall(counts),
        HD95: distances.hd95,
        ASSD: distances.assd,
        overlap.VOLUME_ERROR: overlap.volume_error(counts),
        overlap.REFERENCE_VOLUME: overlap.volume_mm3(counts.reference, spacing_mm),
        overlap.PREDICTED_VOLUME: overlap.volume_mm3(counts.predicted, spacing_mm),
        overlap.TRUE_POSITIVES: counts.tp,
        overlap.FALSE_POSITIVES: counts.fp,
        overlap.FALSE_NEGATIVES: counts.fn,
    }
