"""Summaries of scores as a table for a terminal and as one for a spreadsheet; any task's, any metrics."""

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
_NAMES = 24  # columns that names of structures may take before they are folded
_DIGITS = 6  # significant ones, in a spreadsheet


class ScoreColumn(NamedTuple):
    """A column of a table of means: its cells, a part a row, and the mean of several structures."""

    title: str
    cells: Sequence[str]
    foot: str


def terminal_table(summary: Summary) -> str:
    """The means as plain text, a row a structure and region, the mean of several structures at the foot.

    Of the metrics of which one value is better than another the first ones are shown, as many as fit into
    100 columns. "Cases" are those in which the first metric is defined. Where slices lie in several planes,
    a second table has the first metric of each plane.
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
    """The first metric's means over the cases of each plane, where there are several."""
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
    """Comma-separated values: a row a case, structure and region, a column a metric.

    Six significant digits; what is undefined, or no metric of the region, is an empty cell.
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
    """Comma-separated values, numbers in six significant digits, NaN an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([cell if isinstance(cell, str) else _short(cell) for cell in row] for row in rows)
    return text.getvalue()


def plain_text(grid: Table) -> str:
    """A table as plain text of 100 columns; names stand as they are, "[bold]" and ":knee:" too."""
    page = io.StringIO()
    Console(file=page, width=WIDTH, color_system=None, markup=False, emoji=False).print(grid)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def score_columns(summary: Summary) -> Iterator[ScoreColumn]:
    """All that could be shown, the first metric with its interval."""
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
    """A word a line: "Volume / Error", "HD95 / mm"."""
    return re.sub("(?<=[a-z]{3})(?=[A-Z])| ", "\n", title)


def shown_metrics(summary: Summary) -> list[str]:
    """Return the metrics of which one value is better than another; the first one leads."""
    return [n for n, m in summary.metrics.items() if m.better is not None and m.mean is not None]


def leading_keys(summary: Summary) -> list[str]:
    """The keys of the structures in the region that leads."""
    first, *_ = summary.parts.values()
    return [key for key, part in summary.parts.items() if part.region == first.region]


def _interval(summary: Summary, name: str, intervals: Intervals) -> str:
    low, high = intervals[name]
    metric = summary.metrics[name]
    return "-" if math.isnan(low) else f"{metric.text(low)}-{metric.text(high)}"


def _width(column: ScoreColumn) -> int:
    return max(len(line) for line in (*column.title.split("\n"), *column.cells, column.foot))


def score_notes(summary: Summary, left_out: Sequence[str] = ()) -> Iterator[str]:
    """Yield what a reader of the means must know: of how many subjects they are, and of which region.

    Args:
        left_out: titles of columns that the table has no room for.
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
