"""Completions compared: patients and not cases count, and a difference is one of the same patients."""

import csv
import io
import math

import pytest

from kneeformer.metrics.completion_comparison import Row, compare_configurations, markdown, to_csv
from kneeformer.metrics.summary import CaseScores

REGION = ("RMSD_mm", "Dice", "BoundaryDice", "HD95_mm", "ASSD_mm", "D-SSIM11", "PSNR", "RMSE")
PATIENTS = {"a_L": "a", "a_R": "a", "b": "b", "c": "c"}


def scored(*rmsd_mm: float) -> list[CaseScores]:
    """The cases of PATIENTS, by the RMSD of their regions."""
    return [
        CaseScores(
            case=case,
            subject=subject,
            metrics={
                "region": dict.fromkeys(REGION, 0.5) | {"RMSD_mm": value},
                "composite": {"RMSD_mm": value / 10, "PSNR": 40.0},
            },
        )
        for (case, subject), value in zip(PATIENTS.items(), rmsd_mm, strict=True)
    ]


def find(rows: list[Row], configuration: str, metric: str, part: str = "region") -> Row:
    (row,) = [r for r in rows if (r.configuration, r.part, r.metric) == (configuration, part, metric)]
    return row


@pytest.fixture
def rows() -> list[Row]:
    scores = {"3d_prototype": scored(2, 4, 2, 1), "3d_pca16": scored(1, 2, 1, math.nan)}
    return compare_configurations(scores, ("3d_prototype", "3d_nearest"))


def test_each_patient_counts_once(rows: list[Row]) -> None:
    row = find(rows, "3d_prototype", "RMSD_mm")
    assert row.interval[0] == pytest.approx((3 + 2 + 1) / 3) and row.patients == 3
    assert 1 <= row.interval[1] < row.interval[0] < row.interval[2] <= 3
    assert find(rows, "3d_prototype", "RMSD_mm", "composite").interval[0] == pytest.approx(0.2)


def test_a_patient_of_whom_nothing_is_known_is_left_out(rows: list[Row]) -> None:
    row = find(rows, "3d_pca16", "RMSD_mm")
    assert row.interval[0] == pytest.approx((1.5 + 1) / 2) and row.patients == 2
    (nowhere,) = [
        r
        for r in compare_configurations({"3d_vae": scored(*[math.nan] * 4)}, ())
        if (r.part, r.metric) == ("region", "RMSD_mm")
    ]
    assert math.isnan(nowhere.interval[0]) and nowhere.patients == 0
    assert "| 3d_vae | - | 0.500" in markdown(compare_configurations({"3d_vae": scored(*[math.nan] * 4)}, ()))


def test_differences_are_of_the_same_patients(rows: list[Row]) -> None:
    ratio, difference = (find(rows, "3d_pca16", f"RMSD_mm {sign} 3d_prototype") for sign in "/-")
    assert ratio.interval == pytest.approx((0.5, 0.5, 0.5)) and ratio.patients == 2
    assert difference.interval[0] == pytest.approx((1.5 - 3 + 1 - 2) / 2)
    assert -1.5 <= difference.interval[1] <= difference.interval[2] <= -1
    assert find(rows, "3d_prototype", "RMSD_mm / 3d_prototype").interval == (1, 1, 1)
    assert not [r for r in rows if "3d_nearest" in r.metric]


def test_a_perfect_baseline_has_no_ratio() -> None:
    rows = compare_configurations({"3d_nearest": scored(0, 0, 0, 0)}, ("3d_nearest",))
    assert find(rows, "3d_nearest", "RMSD_mm / 3d_nearest").patients == 0
    assert find(rows, "3d_nearest", "RMSD_mm - 3d_nearest").interval == (0, 0, 0)


def test_the_table_leads_with_the_region(rows: list[Row]) -> None:
    first, _, prototype, pca, *rest = markdown(rows).splitlines()
    titles = [cell.strip() for cell in first.strip("|").split("|")]
    assert titles[:3] == ["configuration", "RMSD mm", "Dice"] and titles[-1] == "whole: PSNR dB"
    assert prototype.startswith("| 3d_prototype | 2.00 (1.00 to 3.00) | 0.500 (0.500 to 0.500) |")
    assert prototype.count("|") == pca.count("|") == first.count("|")
    assert "| 3d_pca16 | 0.500 (0.500 to 0.500) | -1.250 (-1.500 to -1.000) |" in rest
    assert "Means over 3 patients" in "\n".join(rest) and "flatter" in "\n".join(rest)


def test_one_patient_has_no_interval() -> None:
    rows = compare_configurations({"3d_pca16": scored(1, 2, 3, 4)[:2]}, ("3d_pca16",))
    assert "| 3d_pca16 | 1.50 | 0.500 |" in markdown(rows) and "1 patient," in markdown(rows)


def test_csv_has_a_line_a_row_and_no_nan(rows: list[Row]) -> None:
    text = to_csv(rows)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(rows) == 2 * (len(REGION) + 2) + 4
    assert "nan" not in text
    assert list(lines[0]) == ["configuration", "part", "metric", "mean", "low", "high", "n"]
    assert float(lines[0]["mean"]) == rows[0].interval[0] and int(lines[0]["n"]) == rows[0].patients
