import json
import math
from pathlib import Path

import numpy as np
import pytest
from tables import table

from kneeformer.errors import KneeformerError
from kneeformer.metrics.metric import Metric
from kneeformer.metrics.overlap import DICE, TRUE_POSITIVES, VOLUME_ERROR
from kneeformer.metrics.score_table import Part, ScoreTable, rows_of
from kneeformer.metrics.summary import Summary, read_summary, summarise, write_summary
from kneeformer.metrics.surface_distance import HD95


def scores(**values: float) -> dict[str, dict[Metric, float]]:
    """One case: the given value for both metrics of each structure."""
    return {structure: {DICE: value, HD95: value} for structure, value in values.items()}


def femurs(*dice: float) -> dict[str, dict[str, dict[Metric, float]]]:
    return {f"K{i}": scores(femur=value) for i, value in enumerate(dice)}


def width(summary: Summary, structure: str = "femur") -> float:
    low, high = summary.mean_interval[structure]["Dice"]
    return high - low


@pytest.fixture
def knees() -> Summary:
    cases = {
        "A_1": scores(femur=0.9, patella=0.6),
        "A_2": scores(femur=0.7, patella=math.nan),
        "B_1": scores(femur=0.8, patella=0.8),
    }
    return summarise(table(cases, {"A_1": "A", "A_2": "A", "B_1": "B"}), seed=1)


def test_means_by_hand(knees: Summary):
    assert (knees.cases, knees.subjects) == (3, 2)
    assert knees.mean["femur"]["Dice"] == pytest.approx(0.8)
    assert knees.mean["patella"]["Dice"] == pytest.approx(0.7)
    assert knees.foreground_mean["Dice"] == pytest.approx(0.75)
    assert knees.counted["femur"]["Dice"] == 3 and knees.counted["patella"]["HD95_mm"] == 2
    assert [c.case for c in knees.metric_per_case] == ["A_1", "A_2", "B_1"]


def test_two_subjects_can_only_be_drawn_three_ways(knees: Summary):
    # {A, A}, {A, B}, {B, B}: the patella's mean is 0.6, 0.7 or 0.8, each often enough to be in the interval.
    assert knees.mean_interval["patella"]["Dice"] == pytest.approx((0.6, 0.8))
    assert knees.foreground_mean_interval["Dice"] == pytest.approx((0.7, 0.8))


def test_identical_values_have_no_spread():
    cases = femurs(*[0.83] * 9)
    summary = summarise(table(cases))
    assert width(summary) == pytest.approx(0, abs=1e-12)
    assert summary.mean_interval["femur"]["Dice"] == pytest.approx((0.83, 0.83))


def test_repeated_cases_of_a_subject_are_not_new_evidence():
    cases = femurs(*[0.7] * 10, *[0.9] * 10)
    by_subject = {case: "A" if int(case[1:]) < 10 else "B" for case in cases}
    assert width(summarise(table(cases, by_subject))) > 2 * width(summarise(table(cases)))


def test_repeating_every_case_leaves_the_interval():
    once = femurs(0.5, 0.7, 0.8, 0.9)
    twice = once | {f"{case}_again": value for case, value in once.items()}
    intervals = [
        summarise(table(cases, {c: c[:2] for c in cases})).mean_interval["femur"]["Dice"]
        for cases in (once, twice)
    ]
    assert intervals[1] == pytest.approx(intervals[0])


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        cases = femurs(*rng.normal(0.8, 0.1, 30))
        low, high = summarise(table(cases)).mean_interval["femur"]["Dice"]
        hits += low < 0.8 < high
    assert 50 <= hits <= 60


def test_the_seed_settles_the_interval():
    cases = femurs(*np.random.default_rng(0).random(20))
    assert summarise(table(cases), 7) == summarise(table(dict(reversed(cases.items()))), 7)
    assert summarise(table(cases), 7).mean_interval != summarise(table(cases), 8).mean_interval


@pytest.mark.filterwarnings("error")
def test_what_no_case_defines_stays_undefined():
    cases = {c: scores(femur=d, patella=math.nan) for c, d in (("A", 0.8), ("B", 0.9))}
    summary = summarise(table(cases))
    assert math.isnan(summary.mean["patella"]["Dice"]) and math.isnan(width(summary, "patella"))
    assert summary.foreground_mean["Dice"] == pytest.approx(0.85)
    assert summary.counted["patella"]["Dice"] == 0


@pytest.mark.filterwarnings("error")
def test_one_subject_has_no_interval():
    summary = summarise(table(femurs(0.8, 0.9), {"K0": "A", "K1": "A"}))
    assert summary.mean["femur"]["Dice"] == pytest.approx(0.85)
    assert math.isnan(width(summary))


def test_errors_of_both_signs_do_not_cancel():
    cases = {"A": {"femur": {VOLUME_ERROR: 0.3}}, "B": {"femur": {VOLUME_ERROR: -0.1}}}
    summary = summarise(table(cases))
    assert summary.mean["femur"]["VolumeError"] == pytest.approx(0.2)
    assert summary.metric_per_case[1].metrics["femur"]["VolumeError"] == -0.1


def test_what_has_no_mean_is_only_in_the_cases():
    summary = summarise(table({"A": {"femur": {DICE: 0.5, TRUE_POSITIVES: 7}}}))
    assert set(summary.mean["femur"]) == set(summary.foreground_mean) == {"Dice"}
    assert summary.metric_per_case[0].metrics["femur"] == {"Dice": 0.5, "TP": 7}


def test_regions_have_their_own_means_and_the_first_one_leads(tmp_path: Path):
    """Of metrics that only the test knows: a reconstruction's."""
    psnr, nmse = (Metric(name=n, meaning="", better=b) for n, b in (("PSNR", "higher"), ("NMSE", "lower")))
    rows = [
        row
        for case, ratio in (("a", 30.0), ("b", 34.0))
        for region, worse in (("limb", 0.0), ("whole", 5.0))
        for row in rows_of(case, Part("knee", region), {psnr: ratio - worse, nmse: 0.01})
    ]
    scores = ScoreTable(tuple(rows), {"a": "A", "b": "B"}, {"a": "4x"}, {"b": "axial"})
    write_summary(summarise(scores), tmp_path)
    summary = read_summary(tmp_path)
    assert summary.foreground_mean["PSNR"] == summary.mean["knee"]["PSNR"] == 32
    assert summary.mean["knee, whole"]["PSNR"] == 27
    assert summary.parts == {"knee": ("knee", "limb"), "knee, whole": ("knee", "whole")}
    assert summary.table == scores


def test_json_round_trip(knees: Summary, tmp_path: Path):
    write_summary(knees, tmp_path)
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    content = json.loads(text)
    assert content["metric_per_case"][1]["metrics"]["patella"]["Dice"] is None
    assert (
        content["metrics"]["HD95_mm"]["unit"] == "mm" and content["metrics"]["HD95_mm"]["better"] == "lower"
    )
    assert content["foreground_mean"]["Dice"] == pytest.approx(0.75)
    again = read_summary(tmp_path)
    assert again.model_dump_json() == knees.model_dump_json()
    assert math.isnan(again.metric_per_case[1].metrics["patella"]["Dice"])


def test_a_file_that_is_no_summary(tmp_path: Path):
    (tmp_path / "summary.json").write_text('{"mean": {}}')
    with pytest.raises(
        KneeformerError, match=r"summary\.json: damaged, or not of kneeformer .*kf_train .* --val"
    ):
        read_summary(tmp_path)
