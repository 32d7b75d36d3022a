"""Comparisons as Markdown and CSV."""

import csv
import io
import math

from kneeformer.metrics.bootstrap import Interval
from kneeformer.metrics.comparison import ComparedScore
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.surface_distance import HD95
from kneeformer.reporting.comparison_tables import comparison_csv, means_table, paired_table

NONE = math.nan
ROWS = [
    ComparedScore("3d_vae", "hidden", HD95, Interval(2.0, 1.0, 3.0), 3),
    ComparedScore("3d_vae", "hidden", DICE, Interval(NONE, NONE, NONE), 0),
    ComparedScore("3d_vae", "composite", HD95, Interval(0.25, NONE, NONE), 1),
    ComparedScore("3d_vae", "hidden", HD95, Interval(0.5, 0.5, 0.5), 3, "ratio", "3d_nearest"),
    ComparedScore("3d_vae", "hidden", HD95, Interval(-1.5, -2.0, 0.5), 3, "difference", "3d_nearest"),
]


def test_means_with_intervals_where_there_are_any() -> None:
    columns = [("hidden", HD95), ("hidden", DICE), ("composite", HD95)]
    assert means_table(ROWS, columns, ["model"], {"3d_vae": ["3d_vae"]}).splitlines() == [
        "| model | HD95 mm | Dice | composite: HD95 mm |",
        "| --- | --- | --- | --- |",
        "| 3d_vae | 2.00 (1.00 to 3.00) | - | 0.25 |",
    ]


def test_ratio_and_difference() -> None:
    assert paired_table(ROWS, "3d_nearest").splitlines() == [
        "| HD95 mm, hidden, against 3d_nearest | ratio | difference mm |",
        "| --- | --- | --- |",
        "| 3d_vae | 0.500 (0.500 to 0.500) | -1.50 (-2.00 to +0.50) |",
    ]


def test_csv_has_a_line_a_row_and_no_nan() -> None:
    lines = list(csv.DictReader(io.StringIO(comparison_csv(ROWS))))
    assert [*lines[0].values()] == ["3d_vae", "hidden", "HD95_mm", "mean", "", "2", "1", "3", "3"]
    assert [*lines[1].values()][5:] == ["", "", "", "0"]
    assert (lines[4]["statistic"], lines[4]["to"], lines[4]["value"]) == ("difference", "3d_nearest", "-1.5")
