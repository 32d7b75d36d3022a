"""The table of scores: its rows are whole, and a subject counts once."""

import math

import pytest
from tables import table

from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE, VOLUME_ERROR
from kneeformer.metrics.score_table import WHOLE, Part, ScoreTable, rows_of

CASES = {
    "a1": {"femur": {DICE: 0.9}, "patella": {DICE: 0.5}},
    "a2": {"femur": {DICE: 0.4}, "patella": {DICE: math.nan}},
    "b": {"femur": {DICE: math.nan}, "patella": {DICE: math.nan}},
}
SUBJECTS = {"a1": "a", "a2": "a", "b": "b"}


def test_a_subject_is_the_mean_of_its_cases_and_a_case_that_of_its_structures() -> None:
    assert table(CASES, SUBJECTS).by_subject("Dice", WHOLE) == pytest.approx({"a": (0.7 + 0.4) / 2})
    assert table(CASES, SUBJECTS).by_subject("Dice", "limb") == {}


def test_a_signed_error_enters_by_its_size() -> None:
    signed = table({"a": {"femur": {VOLUME_ERROR: -0.2}}})
    assert signed.by_subject("VolumeError", WHOLE) == {"a": 0.2}


def test_parts_and_metrics_keep_the_order_of_the_rows() -> None:
    found = table({"b": CASES["a1"], "a": CASES["a1"]})
    assert found.parts == (Part("femur"), Part("patella")) and [*found.metrics] == ["Dice"]
    assert found.cases == ("a", "b")


def test_tables_of_different_cases_become_one() -> None:
    first, second = table({"a": CASES["a1"]}), table({"b": CASES["a1"]})
    assert ScoreTable.joined([first, second]).cases == ("a", "b")
    with pytest.raises(KneeformerError, match="a: validated in two folds"):
        ScoreTable.joined([first, first])


def test_refusals() -> None:
    with pytest.raises(KneeformerError, match="no case"):
        ScoreTable((), {})
    with pytest.raises(ValueError, match="a2 has no subject"):
        table(CASES, {"a1": "a"})
    with pytest.raises(KneeformerError, match="b has other scores than case a: femur, tibia are not in both"):
        table({"a": {"femur": {DICE: 1.0}}, "b": {"tibia": {DICE: 1.0}}})
    twice = [*rows_of("a", Part("femur"), {DICE: 1.0})] * 2
    with pytest.raises(ValueError, match="or one twice"):
        ScoreTable(tuple(twice), {"a": "a"})
