import math

import numpy as np
import pytest

from kneeformer.labels import LabelScheme
from kneeformer.metrics.scores import METRICS, score_case

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
    assert tuple(scores) == METRICS
    assert (scores["TP"], scores["FP"], scores["FN"]) == (6, 6, 6)
    assert scores["Dice"] == scores["F1"] == scores["Precision"] == scores["Recall"] == 0.5
    assert scores["IoU"] == pytest.approx(1 / 3)
    assert scores["Volume_ref_mm3"] == scores["Volume_pred_mm3"] == 12
    assert scores["VolumeError"] == 0
    assert scores["HD95_mm"] == 0.5  # half of each surface is one row, 0.5 mm, off
    assert scores["ASSD_mm"] == 0.25


def test_structures_are_scored_apart():
    scores = score_case(label_map(y1=1, y2=2), label_map(y1=1, y4=2), SPACING, PLAIN)
    assert list(scores) == ["femur", "tibia"]
    assert scores["femur"]["Dice"] == 1 and scores["femur"]["HD95_mm"] == 0
    assert scores["tibia"]["Dice"] == 0 and scores["tibia"]["HD95_mm"] == 1


def test_an_absent_structure_is_nan_and_a_missed_one_is_not():
    scores = score_case(label_map(y1=1), label_map(), SPACING, PLAIN)
    assert scores["femur"]["Dice"] == 0 and scores["femur"]["VolumeError"] == -1
    assert scores["femur"]["ASSD_mm"] == pytest.approx(math.hypot(8, 3, 6))
    assert math.isnan(scores["tibia"]["Dice"]) and math.isnan(scores["tibia"]["HD95_mm"])
    assert scores["tibia"]["TP"] == scores["tibia"]["Volume_ref_mm3"] == 0


def test_regions_overlap():
    # The tibia taken for femur: right as bone, wrong as femur.
    scores = score_case(label_map(y1=1, y2=2), label_map(y1=1, y2=1), SPACING, REGIONS)
    assert scores["bone"]["Dice"] == 1
    assert scores["femur"]["Dice"] == pytest.approx(2 / 3)


def test_ignored_voxels_do_not_count():
    reference = label_map(y1=1, y4=2)
    scores = score_case(reference, label_map(y1=1, y4=1), SPACING, IGNORING)["femur"]
    assert scores["Dice"] == 1 and scores["FP"] == 0 and scores["HD95_mm"] == 0
    assert scores["Volume_pred_mm3"] == 6
    everywhere = score_case(np.full_like(reference, 2), label_map(y1=1), SPACING, IGNORING)["femur"]
    assert math.isnan(everywhere["Dice"])


def test_inputs_are_left_alone():
    reference, prediction = label_map(y1=1, y4=2), label_map(y1=1, y4=1)
    before = reference.copy(), prediction.copy()
    score_case(reference, prediction, SPACING, IGNORING)
    assert np.array_equal(reference, before[0]) and np.array_equal(prediction, before[1])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        score_case(label_map(), label_map()[1:], SPACING, IGNORING)
