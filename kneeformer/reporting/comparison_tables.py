"""Comparisons of configurations as Markdown and as comma-separated values."""

import math
from collections.abc import Iterable, Mapping, Sequence

from kneeformer.metrics.bootstrap import Interval
from kneeformer.metrics.comparison import ComparedScore
from kneeformer.metrics.metric import Metric
from kneeformer.reporting.score_tables import csv_text

Columns = Sequence[tuple[str, Metric]]  # region and metric


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval_text(interval: Interval, form: str) -> str:
    """Text "mean (low to high)", the mean alone without an interval, or "-"."""
    mean, low, high = (format(value, form) for value in interval)
    if math.isnan(interval.mean):
        return "-"
    return mean if math.isnan(interval.low) else f"{mean} ({low} to {high})"


def means_table(
    estimates: Iterable[ComparedScore],
    columns: Columns,
    titles: Sequence[str],
    leading: Mapping[str, Sequence[str]],
) -> str:
    """Means with intervals: one row per configuration, one column per region and metric.

    Args:
        titles: of the first columns.
        leading: cells of the first columns for each configuration, in the order of the rows.
    """
    found = {(e.configuration, e.region, e.metric.name): e for e in estimates if e.statistic == "mean"}
    regions = dict.fromkeys(region for region, _ in columns)
    first = next(iter(regions))
    named = [m.title if region == first else f"{region}: {m.title}" for region, m in columns]
    rows = [
        [*cells, *(interval_text(found[name, region, m.name].interval, m.form) for region, m in columns)]
        for name, cells in leading.items()
    ]
    return markdown([*titles, *named], rows)


def paired_table(estimates: Sequence[ComparedScore], to: str) -> str:
    """Ratio and difference of every configuration to the configuration `to`."""
    found = {(e.configuration, e.statistic): e for e in estimates if e.to == to}
    names = dict.fromkeys(e.configuration for e in estimates if e.to == to)
    some = next(iter(found.values()))
    rows = [
        [
            name,
            interval_text(found[name, "ratio"].interval, ".3f"),
            interval_text(found[name, "difference"].interval, f"+{some.metric.form}"),
        ]
        for name in names
    ]
    title = f"{some.metric.title}, {some.region}, against {to}"
    return markdown([title, "ratio", f"difference {some.metric.unit}".strip()], rows)


def comparison_csv(estimates: Iterable[ComparedScore]) -> str:
    """Comma-separated values, one line per estimate."""
    return csv_text(
        ["configuration", "region", "metric", "statistic", "to", "value", "low", "high", "subjects"],
        (
            [e.configuration, e.region, e.metric.name, e.statistic, e.to, *e.interval, e.subjects]
            for e in estimates
        ),
    )
