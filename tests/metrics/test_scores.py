import math

import numpy as np
import pytest

from kneeformer.labels import LabelScheme
from kneeformer.metrics.overlap import (
    DICE,
    FALSE_NEGATIVES,
    FALSE_POSITIVES,
    IOU,
    PRECISION,
    PREDICTED_VOLUME,
    RECALL,
    REFERENCE_VOLUME,
    TRUE_POSITIVES,
    VOLUME_ERROR,
)
from kneeformer.metrics.scores import score_case
from kneeformer.metrics.surface_distance import ASSD, HD95

SPACING = (2.0, 0.5, 1.0)
PLAIN = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": [1]}, [2, 1])
IGNORING = LabelScheme.from_json({"background": 0, "femur": 1, "ignore": 2})


def label_map(**rows: int) -> np.ndarray:
    """4 x 6 x 6 voxels; label value of whole rows y1, y2, ... in slice 1."""
    labels = np.zeros((4, 6, 6), np.uint8)
    for row, value in rows.items():
        labels[1, int(row[1:])] = value
    return labels


def test_one_structure_by_hand():
    scores = score_case(label_map(y1=1, y2=1), label_map(y2=1, y3=1), SPACING, PLAIN)["femur"]
    assert (scores[TRUE_POSITIVES], scores[FALSE_POSITIVES], scores[FALSE_NEGATIVES]) == (6, 6, 6)
    assert scores[DICE] == scores[PRECISION] == scores[RECALL] == 0.5
    assert scores[IOU] == pytest.approx(1 / 3)
    assert scores[REFERENCE_VOLUME] == scores[PREDICTED_VOLUME] == 12
    assert scores[VOLUME_ERROR] == 0
    assert scores[HD95] == 0.5  # half of each surface is one row, 0.5 mm, off
    assert scores[ASSD] == 0.25


def test_structures_are_scored_apart():
    scores = score_case(label_map(y1=1, y2=2), label_map(y1=1, y4=2), SPACING, PLAIN)
    assert list(scores) == ["femur", "tibia"]
    assert scores["femur"][DICE] == 1 and scores["femur"][HD95] == 0
    assert scores["tibia"][DICE] == 0 and scores["tibia"][HD95] == 1


def test_an_absent_structure_is_nan_and_a_missed_one_is_not():
    scores = score_case(label_map(y1=1), label_map(), SPACING, PLAIN)
    assert scores["femur"][DICE] == 0 and scores["femur"][VOLUME_ERROR] == -1
    assert scores["femur"][ASSD] == pytest.approx(math.hypot(8, 3, 6))
    assert math.isnan(scores["tibia"][DICE]) and math.isnan(scores["tibia"][HD95])
    assert scores["tibia"][TRUE_POSITIVES] == scores["tibia"][REFERENCE_VOLUME] == 0


def test_regions_overlap():
    # The tibia taken for femur: right as bone, wrong as femur.
    scores = score_case(label_map(y1=1, y2=2), label_map(y1=1, y2=1), SPACING, REGIONS)
    assert scores["bone"][DICE] == 1
    assert scores["femur"][DICE] == pytest.approx(2 / 3)


def test_ignored_voxels_do_not_count():
    reference = label_map(y1=1, y4=2)
    scores = score_case(reference, label_map(y1=1, y4=1), SPACING, IGNORING)["femur"]
    assert scores[DICE] == 1 and scores[FALSE_POSITIVES] == 0 and scores[HD95] == 0
    assert scores[PREDICTED_VOLUME] == 6
    everywhere = score_case(np.full_like(reference, 2), label_map(y1=1), SPACING, IGNORING)["femur"]
    assert math.isnan(everywhere[DICE])


def test_inputs_are_left_alone():
    reference, prediction = label_map(y1=1, y4=2), label_map(y1=1, y4=1)
    before = reference.copy(), prediction.copy()
    score_case(reference, prediction, SPACING, IGNORING)
    assert np.array_equal(reference, before[0]) and np.array_equal(prediction, before[1])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        score_case(label_map(), label_map()[1:], SPACING, IGNORING)
