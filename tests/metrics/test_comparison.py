"""Configurations compared: subjects and not cases count, and a difference is one of the same subjects."""

import math

import pytest
from tables import table

from kneeformer.metrics.comparison import ComparedScore, means, paired
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.shape_completion import HIDDEN, PSNR, RMSD

SUBJECTS = {"a_L": "a", "a_R": "a", "b": "b", "c": "c"}


def scored(*rmsd_mm: float) -> ScoreTable:
    """The cases of SUBJECTS, by the RMSD of their hidden regions."""
    cases = {
        case: {"tibia": {RMSD: value, PSNR: 40.0}} for case, value in zip(SUBJECTS, rmsd_mm, strict=True)
    }
    return table(cases, SUBJECTS, HIDDEN)


SCORES = {"prototype": scored(2, 4, 2, 1), "pca": scored(1, 2, 1, math.nan)}


def find(rows: list[ComparedScore], configuration: str, statistic: str = "mean") -> ComparedScore:
    (row,) = [r for r in rows if (r.configuration, r.statistic, r.metric) == (configuration, statistic, RMSD)]
    return row


def test_each_subject_counts_once() -> None:
    row = find(means(SCORES), "prototype")
    assert row.interval.mean == pytest.approx((3 + 2 + 1) / 3) and row.subjects == 3
    assert 1 <= row.interval.low < row.interval.mean < row.interval.high <= 3


def test_a_subject_of_whom_nothing_is_known_is_left_out() -> None:
    row = find(means(SCORES), "pca")
    assert row.interval.mean == pytest.approx((1.5 + 1) / 2) and row.subjects == 2
    nowhere = find(means({"vae": scored(*[math.nan] * 4)}), "vae")
    assert math.isnan(nowhere.interval.mean) and nowhere.subjects == 0


def test_differences_are_of_the_same_subjects() -> None:
    rows = list(paired(SCORES, RMSD, HIDDEN, ("prototype", "nearest")))
    ratio, difference = (find(rows, "pca", statistic) for statistic in ("ratio", "difference"))
    assert ratio.interval == pytest.approx((0.5, 0.5, 0.5)) and ratio.subjects == 2
    assert difference.interval.mean == pytest.approx((1.5 - 3 + 1 - 2) / 2)
    assert -1.5 <= difference.interval.low <= difference.interval.high <= -1
    assert find(rows, "prototype", "ratio").interval == (1, 1, 1)
    assert {row.to for row in rows} == {"prototype"}


def test_a_perfect_baseline_has_no_ratio() -> None:
    rows = list(paired({"nearest": scored(0, 0, 0, 0)}, RMSD, HIDDEN, ("nearest",)))
    assert find(rows, "nearest", "ratio").subjects == 0
    assert find(rows, "nearest", "difference").interval == (0, 0, 0)
