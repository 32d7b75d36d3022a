"""Tables of scores as people and spreadsheets read them."""

import csv
import io
import math

from tables import table

from kneeformer.metrics.metric import Metric
from kneeformer.metrics.overlap import DICE, REFERENCE_VOLUME, TRUE_POSITIVES, VOLUME_ERROR
from kneeformer.metrics.score_table import Part, ScoreTable, rows_of
from kneeformer.metrics.summary import summarise
from kneeformer.metrics.surface_distance import HD95
from kneeformer.reporting.score_tables import csv_text, spreadsheet, terminal_table


def knees() -> ScoreTable:
    cases = {
        case: {
            "femur": {DICE: dice, HD95: 1.5, VOLUME_ERROR: error, REFERENCE_VOLUME: 1234567.89},
            "patella": {DICE: patella, HD95: math.nan, VOLUME_ERROR: 0.5, REFERENCE_VOLUME: 10.0},
        }
        for case, dice, patella, error in (("A_1", 0.9, 0.6, 0.1), ("B_1", 0.7, math.nan, -0.3))
    }
    return table(cases, {"A_1": "A", "B_1": "B"})


def test_the_terminal_shows_what_can_be_better() -> None:
    lines = [" ".join(line.split()) for line in terminal_table(summarise(knees())).splitlines()]
    assert "Structure Cases Dice 95 % CI mm Error" in lines
    assert "femur 2 0.800 0.700-0.900 1.50 20.0%" in lines
    assert "patella 1 0.600 0.600-0.600 - 50.0%" in lines
    assert "mean 2 0.700 0.700-0.750 1.50 35.0%" in lines
    assert "2 cases of 2 subjects; 95 % CI: of Dice, bootstrap over subjects" in lines
    assert lines[-1] == "VolumeError: mean of absolute values"


def test_one_structure_has_no_mean_at_the_foot_and_one_subject_no_interval() -> None:
    text = terminal_table(summarise(table({"A": {"femur": {DICE: 0.8}}})))
    assert not any(line.startswith("mean") for line in text.splitlines())
    assert "1 case of 1 subject: no confidence interval" in text


def test_it_fits_and_prints_names_as_they_stand() -> None:
    long = "a_very_long_name_that_must_be_folded"
    many = [Metric(name=f"Metric{i}", meaning="", better="higher") for i in range(12)]
    values = dict.fromkeys(many, 1234.5678)
    names = ["medial_tibial_cartilage", "[red]femur", ":bone:", long]
    text = terminal_table(summarise(table({c: dict.fromkeys(names, values) for c in ("A", "B")})))
    assert max(map(len, text.splitlines())) <= 100
    assert "[red]femur" in text and ":bone:" in text and "\x1b" not in text and "…" not in text
    assert "medial_tibial_cartilage" in text and "1234.568" in text
    assert "in summary.csv as well: " in text and text.endswith("Metric11")


def test_regions_are_named() -> None:
    """Of a reconstruction, whose metrics only the test knows."""
    psnr = Metric(name="PSNR", meaning="", unit="dB", better="higher", form=".1f")
    nmse = Metric(name="NMSE", meaning="", better="lower", form=".4f")
    rows = [
        row
        for region, ratio in (("limb", 31.04), ("whole", 26.0))
        for row in rows_of("a", Part("knee", region), {psnr: ratio, nmse: 0.01})
    ]
    lines = terminal_table(summarise(ScoreTable(tuple(rows), {"a": "A"}))).splitlines()
    assert "knee 1 31.0 - 0.0100" in [" ".join(line.split()) for line in lines]
    assert "knee, whole 1 26.0 - 0.0100" in [" ".join(line.split()) for line in lines]
    assert "region, where none is named: limb" in lines


def test_a_spreadsheet_has_a_column_a_metric_and_six_digits() -> None:
    rows = list(csv.DictReader(io.StringIO(spreadsheet(knees()))))
    assert [*rows[0]] == [
        *("case", "subject", "structure", "region"),
        *("Dice", "HD95_mm", "VolumeError", "Volume_ref_mm3"),
    ]
    assert [*rows[0].values()] == ["A_1", "A", "femur", "whole", "0.9", "1.5", "0.1", "1234570"]
    assert [*rows[3].values()] == ["B_1", "B", "patella", "whole", "", "", "0.5", "10"]


def test_counts_keep_all_their_digits() -> None:
    counted = table({"a": {"femur": {TRUE_POSITIVES: 12345678, DICE: 1 / 3}}})
    assert spreadsheet(counted).splitlines()[1] == "a,a,femur,whole,12345678,0.333333"


def test_the_psnr_of_a_perfect_reconstruction_is_a_cell_too() -> None:
    assert csv_text(["PSNR", "SSIM", "NMSE"], [[math.inf, 1.0, math.nan]]) == "PSNR,SSIM,NMSE\ninf,1,\n"


def test_planes_have_a_table_of_their_own_where_there_are_several() -> None:
    there = knees()
    alike = ScoreTable(there.rows, there.subjects, planes={"A_1": "axial", "B_1": "axial"})
    assert "by plane" not in terminal_table(summarise(alike))
    mixed = ScoreTable(there.rows, there.subjects, planes={"A_1": "sagittal", "B_1": "axial"})
    lines = [" ".join(line.split()) for line in terminal_table(summarise(mixed)).splitlines()]
    assert "axial sagittal" in lines and "Dice by plane 1 1" in lines
    assert "femur 0.700 0.900" in lines and "patella - 0.600" in lines
