import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from kneeformer.errors import KneeformerError
from kneeformer.metrics.scores import METRICS, CaseMetrics
from kneeformer.metrics.summary import Summary, read_summary, summarise, table, write_summary


def scores(**dice: float) -> CaseMetrics:
    """One case: the given value for every metric of each structure."""
    return {structure: dict.fromkeys(METRICS, value) for structure, value in dice.items()}


def femurs(*dice: float) -> dict[str, CaseMetrics]:
    return {f"K{i}": scores(femur=value) for i, value in enumerate(dice)}


def each_its_own(cases: dict[str, CaseMetrics]) -> dict[str, str]:
    return {case: case for case in cases}


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
    return summarise(cases, {"A_1": "A", "A_2": "A", "B_1": "B"}, seed=1)


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
    summary = summarise(cases, each_its_own(cases))
    assert width(summary) == pytest.approx(0, abs=1e-12)
    assert summary.mean_interval["femur"]["Dice"] == pytest.approx((0.83, 0.83))


def test_repeated_cases_of_a_subject_are_not_new_evidence():
    cases = femurs(*[0.7] * 10, *[0.9] * 10)
    by_subject = {case: "A" if int(case[1:]) < 10 else "B" for case in cases}
    assert width(summarise(cases, by_subject)) > 2 * width(summarise(cases, each_its_own(cases)))


def test_repeating_every_case_leaves_the_interval():
    once = femurs(0.5, 0.7, 0.8, 0.9)
    twice = once | {f"{case}_again": value for case, value in once.items()}
    intervals = [
        summarise(cases, {c: c[:2] for c in cases}).mean_interval["femur"]["Dice"] for cases in (once, twice)
    ]
    assert intervals[1] == pytest.approx(intervals[0])


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        cases = femurs(*rng.normal(0.8, 0.1, 30))
        low, high = summarise(cases, each_its_own(cases)).mean_interval["femur"]["Dice"]
        hits += low < 0.8 < high
    assert 50 <= hits <= 60


def test_the_seed_settles_the_interval():
    cases = femurs(*np.random.default_rng(0).random(20))
    subjects = each_its_own(cases)
    assert summarise(cases, subjects, 7) == summarise(dict(reversed(cases.items())), subjects, 7)
    assert summarise(cases, subjects, 7).mean_interval != summarise(cases, subjects, 8).mean_interval


@pytest.mark.filterwarnings("error")
def test_what_no_case_defines_stays_undefined():
    cases = {c: scores(femur=d, patella=math.nan) for c, d in (("A", 0.8), ("B", 0.9))}
    summary = summarise(cases, each_its_own(cases))
    assert math.isnan(summary.mean["patella"]["Dice"]) and math.isnan(width(summary, "patella"))
    assert summary.foreground_mean["Dice"] == pytest.approx(0.85)
    assert summary.counted["patella"]["Dice"] == 0


@pytest.mark.filterwarnings("error")
def test_one_subject_has_no_interval():
    summary = summarise(femurs(0.8, 0.9), {"K0": "A", "K1": "A"})
    assert summary.mean["femur"]["Dice"] == pytest.approx(0.85)
    assert math.isnan(width(summary))
    assert "2 cases of 1 subject: no confidence interval" in table(summary)


def test_refusals():
    with pytest.raises(KneeformerError, match="no case"):
        summarise({}, {})
    with pytest.raises(ValueError, match="K1 has no subject"):
        summarise(femurs(0.8, 0.9), {"K0": "A"})
    with pytest.raises(ValueError, match="K1 has other structures"):
        summarise({"K0": scores(femur=1.0), "K1": scores(tibia=1.0)}, {"K0": "A", "K1": "B"})


def test_json_round_trip(knees: Summary, tmp_path: Path):
    write_summary(knees, tmp_path)
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    content = json.loads(text)
    assert content["metric_per_case"][1]["metrics"]["patella"]["Dice"] is None
    assert content["mean"]["femur"]["F1"] == content["mean"]["femur"]["Dice"]
    assert content["foreground_mean"]["Dice"] == pytest.approx(0.75)
    again = read_summary(tmp_path)
    assert again.model_dump_json() == knees.model_dump_json()
    assert math.isnan(again.metric_per_case[1].metrics["patella"]["Dice"])


def test_csv_round_trip(knees: Summary, tmp_path: Path):
    write_summary(knees, tmp_path)
    with (tmp_path / "summary.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["case", "subject", "structure", *METRICS]
    found = [(r["case"], r["subject"], r["structure"], r["Dice"]) for r in rows]
    assert found[:4] == [
        ("A_1", "A", "femur", "0.9"),
        ("A_1", "A", "patella", "0.6"),
        ("A_2", "A", "femur", "0.7"),
        ("A_2", "A", "patella", ""),
    ]


def test_a_file_that_is_no_summary(tmp_path: Path):
    (tmp_path / "summary.json").write_text('{"mean": {}}')
    with pytest.raises(
        KneeformerError, match=r"summary\.json: damaged, or not of kneeformer .*kf_train .* --val"
    ):
        read_summary(tmp_path)


def test_the_table_reads_well(knees: Summary):
    lines = table(knees).splitlines()
    femur, mean = (next(line for line in lines if line.startswith(name)) for name in ("femur", "mean"))
    assert " ".join(femur.split()) == "femur 3 0.800 0.800-0.800 0.800 0.800 0.800 0.80 0.80 +80.0%"
    assert mean.split()[1:4] == ["3", "0.750", "0.700-0.800"]
    assert lines[-1] == "3 cases of 2 subjects; 95 % CI: of Dice, bootstrap over subjects"
    assert table(knees).count("F1") == 1


def test_the_table_fits_and_prints_names_as_they_stand():
    names = [
        "medial_tibial_cartilage",
        "[red]femur",
        ":bone:",
        "a_very_long_name_that_must_be_folded",
        "absent",
    ]
    values = dict.fromkeys(METRICS, 0.5) | {"HD95_mm": 187.234, "ASSD_mm": 123.456, "VolumeError": 34.5}
    cases = {c: dict.fromkeys(names, values) for c in ("A", "B")}
    for case in cases.values():
        case["absent"] = dict.fromkeys(METRICS, math.nan)
    text = table(summarise(cases, each_its_own(cases)))
    assert max(map(len, text.splitlines())) <= 100
    assert "[red]femur" in text and ":bone:" in text and "\x1b" not in text and "nan" not in text
    assert "medial_tibial_cartilage" in text and "187.2" in text and "+3450%" in text and "…" not in text
