"""Scores in the report page: a table of structures, with intervals, and one of cases, worst first."""

import math

from kneeformer.metrics.summary import CaseScores, Summary
from kneeformer.reporting.report_page import Table
from kneeformer.reporting.score_tables import leading_keys, score_columns, score_notes, shown_metrics


def structure_table(summary: Summary) -> Table:
    """Means of each structure and region, the leading metric with its interval."""
    columns = [*score_columns(summary)]
    several = len(leading_keys(summary)) > 1
    return Table(
        caption="Means over cases",
        header=("Structure", *(column.title.replace("\n", " ") for column in columns)),
        rows=[
            (name, *cells)
            for name, cells in zip(summary.parts, zip(*(c.cells for c in columns), strict=True), strict=True)
        ],
        foot=("mean", *(column.foot for column in columns)) if several else (),
        notes=[*score_notes(summary)],
    )


def case_table(summary: Summary) -> Table:
    """The leading metric of each case and structure, the worst cases first."""
    name, keys = shown_metrics(summary)[0], leading_keys(summary)
    metric = summary.metrics[name]
    rows = [
        (
            case.case,
            metric.text(_mean(case, summary)),
            *(metric.text(case.metrics[key].get(name, math.nan)) for key in keys),
        )
        for case in worst_first(summary)
    ]
    return Table(f"{metric.title} of each case, the worst first", ("Case", "Mean", *keys), rows)


def worst_first(summary: Summary) -> list[CaseScores]:
    """Cases sorted by the mean of the leading metric, worst first, undefined last."""
    sign = -1 if summary.metrics[shown_metrics(summary)[0]].better == "lower" else 1
    means = {case.case: sign * _mean(case, summary) for case in summary.metric_per_case}
    return sorted(summary.metric_per_case, key=lambda c: (math.isnan(means[c.case]), means[c.case], c.case))


def _mean(case: CaseScores, summary: Summary) -> float:
    name = shown_metrics(summary)[0]
    values = [case.metrics[key].get(name, math.nan) for key in leading_keys(summary)]
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan
