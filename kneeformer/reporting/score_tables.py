"""Tables of scores, of any task, for a terminal and for a spreadsheet."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from kneeformer.metrics.bootstrap import caution
from kneeformer.metrics.score_table import WHOLE, ScoreTable
from kneeformer.metrics.summary import Intervals, Summary

WIDTH = 100  # columns of a terminal
_NAMES = 24  # columns for names of structures; longer names are folded
_DIGITS = 6  # significant ones, in a spreadsheet


class ScoreColumn(NamedTuple):
    """A column of a table of means: one cell per part, and the mean over several structures."""

    title: str
    cells: Sequence[str]
    foot: str


def terminal_table(summary: Summary) -> str:
    """The means as plain text, one row per structure and region, with the mean over structures at the foot.

    It shows the first metrics that have a better direction, as many as fit into 100 columns. "Cases" counts
    those in which the first metric is defined. If slices lie in several planes, a second table has the first
    metric for each plane.
    """
    columns = [*score_columns(summary)]
    names = min(_NAMES, max(len(name) for name in summary.parts))
    widths = np.cumsum([2 + _width(column) for column in columns])  # two of space between columns
    shown = [column for column, end in zip(columns, widths, strict=True) if names + end <= WIDTH]
    several = len(leading_keys(summary)) > 1
    grid = Table(box=SIMPLE, show_footer=several, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("Structure", "mean", overflow="fold")
    for column in shown:
        grid.add_column(column.title, column.foot, justify="right", no_wrap=True)
    for name, cells in zip(summary.parts, zip(*(c.cells for c in shown), strict=True), strict=True):
        grid.add_row(name, *cells)
    left_out = [column.title.replace("\n", " ") for column in columns[len(shown) :]]
    return "\n".join([plain_text(grid), *score_notes(summary, left_out), *_by_plane(summary)])


def _by_plane(summary: Summary) -> Iterator[str]:
    """The first metric's means over the cases of each plane, if there are several."""
    first, *_ = shown_metrics(summary)
    metric = summary.metrics[first]
    planes = sorted({case.plane for case in summary.metric_per_case})
    if len(planes) < 2:
        return
    grid = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(f"{metric.title} by plane", overflow="fold")
    cases = {plane: [c for c in summary.metric_per_case if c.plane == plane] for plane in planes}
    for plane, there in cases.items():
        grid.add_column(f"{plane or 'thin slices'}\n{len(there)}", justify="right", no_wrap=True)
    for part in summary.parts:
        values = [[c.metrics[part].get(first, math.nan) for c in there] for there in cases.values()]
        grid.add_row(part, *(metric.text(_mean_of(v)) for v in values))
    yield from ("", plain_text(grid))


def _mean_of(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def spreadsheet(table: ScoreTable) -> str:
    """Comma-separated values: one row per case, structure and region, one column per metric.

    Numbers have six significant digits; undefined values are empty cells.
    """
    cells = {(row.case, row.part, row.metric.name): row.value for row in table.rows}
    names, parts = [*table.metrics], table.parts
    return csv_text(
        ["case", "subject", "structure", "region", *names],
        (
            [
                case,
                table.subjects[case],
                *part,
                *(cells.get((case, part, m), math.nan) for m in names),
            ]
            for case in table.cases
            for part in parts
        ),
    )


def csv_text(titles: Sequence[str], rows: Iterable[Iterable[str | float]]) -> str:
    """Comma-separated values; numbers have six significant digits, NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([cell if isinstance(cell, str) else _short(cell) for cell in row] for row in rows)
    return text.getvalue()


def plain_text(grid: Table) -> str:
    """A table as plain text of 100 columns; "[bold]" and ":knee:" in names are kept as they are."""
    page = io.StringIO()
    Console(file=page, width=WIDTH, color_system=None, markup=False, emoji=False).print(grid)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def score_columns(summary: Summary) -> Iterator[ScoreColumn]:
    """All columns that a table could show; the first metric has an interval."""
    first, *_ = names = shown_metrics(summary)
    yield ScoreColumn("Cases", [str(n[first]) for n in summary.counted.values()], str(summary.cases))
    for name in names:
        metric = summary.metrics[name]
        means = [metric.text(mean.get(name, math.nan)) for mean in summary.mean.values()]
        foot = metric.text(summary.foreground_mean.get(name, math.nan))
        yield ScoreColumn(_heading(metric.title), means, foot)
        if name == first:
            intervals = [_interval(summary, name, found) for found in summary.mean_interval.values()]
            foot = _interval(summary, name, summary.foreground_mean_interval)
            yield ScoreColumn("95 % CI", intervals, foot)


def _heading(title: str) -> str:
    """One line per word: "Volume / Error", "HD95 / mm"."""
    return re.sub("(?<=[a-z]{3})(?=[A-Z])| ", "\n", title)


def shown_metrics(summary: Summary) -> list[str]:
    """Names of the metrics that have a better direction, the leading one first."""
    return [n for n, m in summary.metrics.items() if m.better is not None and m.mean is not None]


def leading_keys(summary: Summary) -> list[str]:
    """Keys of the structures in the leading region."""
    first, *_ = summary.parts.values()
    return [key for key, part in summary.parts.items() if part.region == first.region]


def _interval(summary: Summary, name: str, intervals: Intervals) -> str:
    low, high = intervals[name]
    metric = summary.metrics[name]
    return "-" if math.isnan(low) else f"{metric.text(low)}-{metric.text(high)}"


def _width(column: ScoreColumn) -> int:
    return max(len(line) for line in (*column.title.split("\n"), *column.cells, column.foot))


def score_notes(summary: Summary, left_out: Sequence[str] = ()) -> Iterator[str]:
    """Yield notes below a table of means: number of cases and subjects, region, left-out columns.

    Args:
        left_out: titles of columns without room in the table.
    """
    cases = "1 case" if summary.cases == 1 else f"{summary.cases} cases"
    first, *names = shown_metrics(summary)
    if summary.subjects == 1:
        yield f"{cases} of 1 subject: no confidence interval (it needs two subjects)"
    else:
        yield f"{cases} of {summary.subjects} subjects; 95 % CI: of {first}, bootstrap over subjects"
        if few := caution(summary.subjects):
            yield few
    region = summary.parts[leading_keys(summary)[0]].region
    if region != WHOLE:
        yield f"region, where none is named: {region}"
    if absolute := [n for n in (first, *names) if summary.metrics[n].mean == "absolute values"]:
        yield f"{', '.join(absolute)}: mean of absolute values"
    if left_out:
        yield f"in summary.csv as well: {', '.join(left_out)}"


def _short(value: float) -> str:
    if math.isnan(value):
        return ""
    if math.isinf(value):  # PSNR of a perfect reconstruction
        return str(value)
    if value == int(value):
        return str(int(value))
    return np.format_float_positional(value, _DIGITS, unique=False, fractional=False, trim="-")
