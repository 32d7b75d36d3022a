"""The table and the plot of the label study."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.metrics.bootstrap import Interval, seeds_and_subjects_interval
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import WHOLE, ScoreTable
from kneeformer.reporting.comparison_tables import interval_text, markdown
from kneeformer.reporting.plots import Curve, draw_label_curves
from kneeformer.reporting.score_tables import csv_text
from kneeformer.studies.label_arms import ALL_ARMS

Group = tuple[int | None, str]  # number of labelled subjects, None for all, and name of the arm
Scores = dict[Group, np.ndarray]  # (seeds, subjects) mean Dice


@dataclass(frozen=True)
class Row:
    """One line of the table: mean Dice over seeds and subjects.

    Attributes:
        gain: in Dice points, over the best arm that this one is compared with; None without one.
    """

    labels: int | None
    arm: str
    seeds: int
    dice: Interval
    gain: Interval | None


def dice_of(runs: Iterable[ScoreTable]) -> np.ndarray:
    """(seeds, subjects) mean Dice of each validation subject, sorted by subject; NaN where it has none."""
    return np.stack([by_subject(table, DICE.name) for table in runs])


def by_subject(table: ScoreTable, metric: str) -> np.ndarray:
    """(subjects,) means of a metric, sorted by subject; NaN where it is undefined."""
    found = table.by_subject(metric, WHOLE)
    return np.array([found.get(subject, math.nan) for subject in sorted({*table.subjects.values()})])


def compared(scores: Scores) -> Iterator[Row]:
    """The rows, with the gain of each arm over the best one that it is compared with at its labels."""
    for (labels, name), values in scores.items():
        others = [s for (n, other), s in scores.items() if n == labels and other in ALL_ARMS[name].beside]
        gain = None
        if others:
            best = max(others, key=lambda s: float(np.nanmean(s)))
            gain = seeds_and_subjects_interval(100 * (values - best))
        yield Row(labels, name, len(values), seeds_and_subjects_interval(values), gain)


def label_csv(rows: Sequence[Row]) -> str:
    """The table as comma-separated values."""
    nothing = Interval(math.nan, math.nan, math.nan)
    titles = ["labels", "arm", "name", "seeds", "dice", "low", "high", "gain", "gain_low", "gain_high"]
    return csv_text(
        titles,
        (
            [str(row.labels or "all"), row.arm, _name(row.arm), row.seeds, *row.dice, *(row.gain or nothing)]
            for row in rows
        ),
    )


def label_markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    titles = ["labelled subjects", "arm", "seeds", "mean Dice (95 % CI)"]
    cells = (
        [
            *(str(row.labels or "all"), f"{row.arm} {_name(row.arm)}", str(row.seeds)),
            interval_text(row.dice, ".4f"),
            "" if row.gain is None else interval_text(row.gain, "+.2f"),
        ]
        for row in rows
    )
    return markdown([*titles, "gain in points (95 % CI)"], cells) + "\n"


def _name(arm: str) -> str:
    found = ALL_ARMS[arm]
    return f"{found.name}, {found.ablation}" if found.ablation else found.name


def draw(scores: Scores, picture: Path) -> None:
    """Draw a PNG of Dice by number of labels, with one curve per arm and one panel per ablation."""
    points: dict[str, list[tuple[str, tuple[float, float, float]]]] = {}
    for (labels, name), values in scores.items():
        points.setdefault(name, []).append((str(labels or "all"), seeds_and_subjects_interval(values)))
    curves = [
        Curve(arm.name if arm.ablation else f"{name} {arm.name}", tuple(points[name]), arm.ablation)
        for name, arm in ALL_ARMS.items()
        if name in points
    ]
    draw_label_curves(curves, picture)
