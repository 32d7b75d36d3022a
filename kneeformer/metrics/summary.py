"""Summary of the scores of many cases: means, confidence intervals over subjects, and its file."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import model_validator

from kneeformer.data.files import read_model, write_text
from kneeformer.metrics.bootstrap import SEED, bootstrap_weights, percentiles, weighted_means
from kneeformer.metrics.metric import Metric
from kneeformer.metrics.records import Number, Record
from kneeformer.metrics.score_table import Part, Score, ScoreTable

Numbers = dict[str, Number]  # metric -> value
Intervals = dict[str, tuple[Number, Number]]  # metric -> low, high


class CaseScores(Record):
    """The rows of one case: part -> metric -> value.

    Attributes:
        mask: digest of the mask of its prediction; "" without one.
        plane: of thick slices; "" without these.
    """

    case: str
    subject: str
    mask: str = ""
    plane: str = ""
    metrics: dict[str, Numbers]


class Summary(Record):
    """Scores of a set of cases; keys as in nnU-Net's summary.json, structures by name.

    A part is a structure in a region. Its key is "structure" in the leading region, the first of the table,
    and "structure, region" in others.

    A mean is taken over the cases in which the metric is defined, whose number is in `counted`; it is NaN if
    there are none. `foreground_mean` is the mean of the means of the leading region's structures. Intervals
    are 95 % bootstrap intervals over subjects, (low, high), and NaN with fewer than two subjects.
    """

    cases: int
    subjects: int
    seed: int
    foreground_mean: Numbers
    foreground_mean_interval: Intervals
    mean: dict[str, Numbers]
    mean_interval: dict[str, Intervals]
    counted: dict[str, dict[str, int]]
    parts: dict[str, Part]
    metrics: dict[str, Metric]
    metric_per_case: tuple[CaseScores, ...]

    @model_validator(mode="after")
    def _is_of_one_table(self) -> "Summary":
        for case in self.metric_per_case:
            if set(case.metrics) != set(self.parts):
                raise ValueError(f"case {case.case} has other structures than the summary")
            if unknown := {m for values in case.metrics.values() for m in values} - set(self.metrics):
                raise ValueError(f"{', '.join(sorted(unknown))} of case {case.case} are not in `metrics`")
        if not self.metric_per_case:
            raise ValueError("there is no case in it")
        return self

    @property
    def table(self) -> ScoreTable:
        """The table that it summarises."""
        rows = tuple(
            Score(case.case, *self.parts[key], self.metrics[name], value)
            for case in self.metric_per_case
            for key, values in case.metrics.items()
            for name, value in values.items()
        )
        subjects = {case.case: case.subject for case in self.metric_per_case}
        masks = {case.case: case.mask for case in self.metric_per_case if case.mask}
        planes = {case.case: case.plane for case in self.metric_per_case if case.plane}
        return ScoreTable(rows, subjects, masks, planes)


def summarise(table: ScoreTable, seed: int = SEED) -> Summary:
    """Means over cases, with percentile bootstrap intervals over subjects.

    Args:
        seed: of the bootstrap; the same seed and scores give the same intervals.
    """
    cases, parts = table.cases, _keys(table)
    averaged = [name for name, metric in table.metrics.items() if metric.mean is not None]
    values = _averaged_values(table, averaged)
    mean = weighted_means(values, np.ones((1, len(cases))))[0]
    resampled = weighted_means(values, bootstrap_weights([table.subjects[c] for c in cases], seed=seed))
    leading = [j for j, part in enumerate(parts.values()) if part.region == table.regions[0]]

    there = {region: table.metrics_in(region) for region in table.regions}

    def named(numbers: np.ndarray, region: str) -> dict[str, Any]:
        """(metrics, ...) -> metric -> number or pair, of the metrics that the region has."""
        return {name: n for name, n in zip(averaged, numbers.tolist(), strict=True) if name in there[region]}

    def by_part(numbers: np.ndarray) -> dict[str, Any]:
        """(parts, metrics, ...) -> part -> metric -> number or pair."""
        return {key: named(n, part.region) for n, (key, part) in zip(numbers, parts.items(), strict=True)}

    foreground = percentiles(_nanmean(resampled[:, leading], axis=1))
    return Summary(
        cases=len(cases),
        subjects=len({table.subjects[c] for c in cases}),
        seed=seed,
        foreground_mean=named(_nanmean(mean[leading], axis=0), table.regions[0]),
        foreground_mean_interval=named(foreground.T, table.regions[0]),
        mean=by_part(mean),
        mean_interval=by_part(np.moveaxis(percentiles(resampled), 0, -1)),
        counted=by_part((~np.isnan(values)).sum(axis=0)),
        parts=parts,
        metrics=table.metrics,
        metric_per_case=_per_case(table, parts),
    )


def write_summary(summary: Summary, folder: Path) -> None:
    """Write summary.json in `folder`: valid JSON, NaN as null."""
    write_text(folder / "summary.json", summary.model_dump_json(indent=2) + "\n")


def read_summary(folder: Path) -> Summary:
    """Read the summary.json that `write_summary` wrote.

    Raises:
        KneeformerError: summary.json is missing or is not a summary.
    """
    return read_model(folder / "summary.json", Summary, "evaluate again: kf_train ... --val, or kf_evaluate")


def _averaged_values(table: ScoreTable, metrics: Sequence[str]) -> np.ndarray:
    """(cases, parts, metrics) float64 values for means, NaN where undefined or without a row."""
    places = [{name: i for i, name in enumerate(names)} for names in (table.cases, table.parts, metrics)]
    values = np.full([len(place) for place in places], math.nan)
    for row in table.rows:
        if row.metric.name in places[2]:
            at = tuple(p[n] for p, n in zip(places, (row.case, row.part, row.metric.name), strict=True))
            values[at] = row.metric.averaged(row.value)
    return values


def _per_case(table: ScoreTable, parts: Mapping[str, Part]) -> tuple[CaseScores, ...]:
    key_of = {part: key for key, part in parts.items()}
    found: dict[str, dict[str, Numbers]] = {case: {key: {} for key in parts} for case in table.cases}
    for row in table.rows:
        found[row.case][key_of[row.part]][row.metric.name] = row.value
    return tuple(
        CaseScores(
            case=case,
            subject=table.subjects[case],
            mask=table.masks.get(case, ""),
            plane=table.planes.get(case, ""),
            metrics=metrics,
        )
        for case, metrics in found.items()
    )


def _keys(table: ScoreTable) -> dict[str, Part]:
    """The parts by their keys in summary.json."""
    leading = table.regions[0]
    return {
        part.structure if part.region == leading else f"{part.structure}, {part.region}": part
        for part in table.parts
    }


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the values that are not NaN; NaN, without a warning, if there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))
