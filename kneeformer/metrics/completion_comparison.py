"""Completions of the same bones by several configurations: means over patients, differences, and a table.

The hidden region leads. `composite`, the completed region in the bone as it was, flatters: see `completion`.
The parts `visible` and `whole` are not compared, since they score what a completion is not asked for.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kneeformer.metrics.bootstrap import Interval, by_subject, interval_text, subjects_interval
from kneeformer.metrics.summary import CaseScores

PARTS = ("region", "composite")
PAIRED = "RMSD_mm"  # of the region: what is compared patient by patient


@dataclass(frozen=True)
class Row:
    """One line of the table: a mean over the patients of whom the metric says something.

    Attributes:
        metric: of `completion`; "RMSD_mm / 3d_nearest" is the ratio to another configuration, patient by
            patient, and "RMSD_mm - 3d_nearest" the difference.
        interval: 95 %, bootstrap over patients; NaN with fewer than two.
    """

    configuration: str
    part: str
    metric: str
    interval: Interval
    patients: int


@dataclass(frozen=True)
class _Column:
    title: str
    part: str
    metric: str
    digits: int
    factor: int = 1


_COLUMNS = (
    _Column("RMSD mm", "region", "RMSD_mm", 2),
    _Column("Dice", "region", "Dice", 3),
    _Column("BoundaryDice", "region", "BoundaryDice", 3),
    _Column("HD95 mm", "region", "HD95_mm", 2),
    _Column("ASSD mm", "region", "ASSD_mm", 2),
    _Column("D-SSIM11 x 100", "region", "D-SSIM11", 2, 100),
    _Column("PSNR dB", "region", "PSNR", 1),
    _Column("RMSE x 100", "region", "RMSE", 2, 100),
    _Column("whole: RMSD mm", "composite", "RMSD_mm", 3),
    _Column("whole: PSNR dB", "composite", "PSNR", 1),
)

_FOOTNOTE = """\
Means over {patients}, with 95 % intervals (bootstrap over patients), of the hidden region, which is the same
for all configurations. The figures of the whole bone flatter: all that is visible is as it was given, and the
bare prototype has a high PSNR too. Whether shapes and images are those of patients or synthetic is not known
here and must be said beside the table.
"""


def compare_configurations(scores: Mapping[str, Sequence[CaseScores]], baselines: Sequence[str]) -> list[Row]:
    """Every metric of every configuration, and the region's RMSD against the baselines among them.

    Args:
        scores: of each configuration the same cases; part -> metric -> value as `score_completion` has it.
        baselines: names of configurations; those that are not scored are left out.
    """
    rows = [row for name, cases in scores.items() for row in means(name, cases, PARTS)]
    for baseline in baselines:
        if baseline in scores:
            against = _by_patient(scores[baseline], "region", PAIRED)
            for name, cases in scores.items():
                rows += _paired(name, _by_patient(cases, "region", PAIRED), baseline, against)
    return rows


def to_csv(rows: Iterable[Row]) -> str:
    """A line a row; what is undefined is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["configuration", "part", "metric", "mean", "low", "high", "n"])
    for row in rows:
        numbers = ["" if math.isnan(value) else value for value in row.interval]
        writer.writerow([row.configuration, row.part, row.metric, *numbers, row.patients])
    return text.getvalue()


def markdown(rows: Sequence[Row]) -> str:
    """The table as people read it."""
    found = {(row.configuration, row.part, row.metric): row for row in rows}
    names = list(dict.fromkeys(row.configuration for row in rows))
    lines = [
        f"| configuration | {' | '.join(c.title for c in _COLUMNS)} |",
        "|---" * (1 + len(_COLUMNS)) + "|",
    ]
    for name in names:
        cells = [scaled_text(found[name, c.part, c.metric].interval, c.digits, c.factor) for c in _COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += _paired_lines(found, names)
    most = max(row.patients for row in rows)
    patients = "1 patient" if most == 1 else f"{most} patients"
    return "\n".join([*lines, "", _FOOTNOTE.format(patients=patients)])


def means(name: str, cases: Sequence[CaseScores], parts: Sequence[str]) -> Iterator[Row]:
    """Every metric of these parts of a configuration's cases."""
    for part in parts:
        for metric in cases[0].metrics[part]:
            yield _row(name, part, metric, _by_patient(cases, part, metric).values())


def _by_patient(cases: Sequence[CaseScores], part: str, metric: str) -> dict[str, float]:
    return by_subject(cases, lambda case: case.metrics[part][metric])


def _paired(
    name: str, values: Mapping[str, float], baseline: str, against: Mapping[str, float]
) -> tuple[Row, Row]:
    """Ratio and difference, over the patients of whom both are defined."""
    pairs = [(values[subject], against[subject]) for subject in values if subject in against]
    return (
        _row(name, "region", f"{PAIRED} / {baseline}", [here / there for here, there in pairs if there > 0]),
        _row(name, "region", f"{PAIRED} - {baseline}", [here - there for here, there in pairs]),
    )


def _row(configuration: str, part: str, metric: str, values: Iterable[float]) -> Row:
    found = list(values)
    return Row(configuration, part, metric, subjects_interval(found), len(found))


def _paired_lines(found: Mapping[tuple[str, str, str], Row], names: Sequence[str]) -> list[str]:
    baselines = [other for other in names if (names[0], "region", f"{PAIRED} - {other}") in found]
    lines = []
    for baseline in baselines:
        lines += [
            "",
            f"| RMSD of the region against {baseline} | ratio | difference mm |",
            "|---|---|---|",
        ]
        for name in names:
            ratio, difference = (found[name, "region", f"{PAIRED} {sign} {baseline}"] for sign in "/-")
            cells = f"{scaled_text(ratio.interval, 3)} | {scaled_text(difference.interval, 3)}"
            lines.append(f"| {name} | {cells} |")
    return lines


def scaled_text(interval: Interval, digits: int, factor: int = 1) -> str:
    """The interval of a value times a factor, in so many digits."""
    mean, low, high = (factor * value for value in interval)
    return interval_text((mean, low, high), f".{digits}f")
