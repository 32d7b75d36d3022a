"""Summary of the scores of many cases: means, confidence intervals over subjects, files and a table."""

import csv
import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from kneeformer.data.files import read_model, write_text
from kneeformer.errors import KneeformerError
from kneeformer.metrics.scores import METRICS, CaseMetrics

RESAMPLES = 2000
TABLE_COLUMNS = 100
_TITLES = (
    "Cases",
    "Dice\n(F1)",
    "95 % CI",
    "IoU",
    "Precision",
    "Recall",
    "HD95\nmm",
    "ASSD\nmm",
    "Volume\nerror",
)

# A float that is null in JSON where it is NaN.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Values = dict[str, Number]
Intervals = dict[str, tuple[Number, Number]]


class Record(BaseModel):
    """Numbers as they are kept in JSON: NaN is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class CaseScores(Record):
    """The metrics of one case: structure -> metric -> value."""

    case: str
    subject: str
    metrics: dict[str, Values]


class Summary(Record):
    """Scores of a set of cases; keys as in nnU-Net's summary.json, structures by name.

    A mean is over the cases in which the metric is defined (the empty-mask rule of `overlap`), and NaN
    where it is defined in none; `counted` says how many those are. `foreground_mean` is the mean of the
    structures' means, each structure weighing the same. Intervals are 95 % bootstrap intervals over
    subjects, (low, high), and NaN with fewer than two subjects.
    """

    cases: int
    subjects: int
    seed: int
    foreground_mean: Values
    foreground_mean_interval: Intervals
    mean: dict[str, Values]
    mean_interval: dict[str, Intervals]
    counted: dict[str, dict[str, int]]
    metric_per_case: tuple[CaseScores, ...]

    @model_validator(mode="after")
    def _every_case_has_every_metric(self) -> "Summary":
        structures = set(self.mean)
        for case in self.metric_per_case:
            if set(case.metrics) != structures or any(not {*METRICS} <= {*m} for m in case.metrics.values()):
                raise ValueError(f"case {case.case} lacks structures or metrics")
        if not self.metric_per_case:
            raise ValueError("there is no case in it")
        return self


def summarise(
    scores_by_case: Mapping[str, CaseMetrics], subject_of: Mapping[str, str], seed: int = 12345
) -> Summary:
    """Means over cases, with percentile bootstrap intervals over subjects.

    Subjects, not cases, are drawn with replacement, each with all its cases (cluster bootstrap: Davison
    and Hinkley 1997, 3.8), because two scans of one knee are not two independent observations.

    Args:
        scores_by_case: what `score_case` gave for each case.
        subject_of: subject of each case (it may know more cases).
        seed: of the bootstrap; the same seed and scores give the same intervals.

    Raises:
        KneeformerError: no case at all.
        ValueError: a case without a subject, or with other structures than the first.
    """
    cases, structures = _check(scores_by_case, subject_of)
    values = np.array([[[scores_by_case[c][s][m] for m in METRICS] for s in structures] for c in cases])
    subjects, member = np.unique([subject_of[c] for c in cases], return_inverse=True)
    mean = _means(values, np.ones((1, len(cases))))[0]
    resampled = _means(values, _bootstrap_weights(member, len(subjects), seed))
    return Summary(
        cases=len(cases),
        subjects=len(subjects),
        seed=seed,
        foreground_mean=_by_metric(_nanmean(mean, axis=0)),
        foreground_mean_interval=_by_metric(_interval(_nanmean(resampled, axis=1))),
        mean={s: _by_metric(row) for s, row in zip(structures, mean, strict=True)},
        mean_interval={s: _by_metric(_interval(resampled[:, k])) for k, s in enumerate(structures)},
        counted={s: _by_metric(n) for s, n in zip(structures, _defined(values).sum(axis=0), strict=True)},
        metric_per_case=tuple(
            CaseScores(case=c, subject=subject_of[c], metrics=scores_by_case[c]) for c in cases
        ),
    )


def write_summary(summary: Summary, folder: Path) -> None:
    """Write summary.json (NaN as null) and summary.csv (a row a case and structure) in `folder`."""
    write_text(folder / "summary.json", summary.model_dump_json(indent=2) + "\n")
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["case", "subject", "structure", *METRICS])
    for scores in summary.metric_per_case:
        for structure, metrics in scores.metrics.items():
            numbers = ["" if math.isnan(metrics[m]) else str(metrics[m]).removesuffix(".0") for m in METRICS]
            writer.writerow([scores.case, scores.subject, structure, *numbers])
    write_text(folder / "summary.csv", rows.getvalue())


def read_summary(folder: Path) -> Summary:
    """Read what `write_summary` wrote.

    Raises:
        KneeformerError: summary.json is missing or is not a summary.
    """
    return read_model(folder / "summary.json", Summary, "evaluate again: kf_train ... --val, or kf_evaluate")


def table(summary: Summary) -> str:
    """The means as plain text for a terminal of 100 columns: a row a structure, their mean at the foot.

    "Cases" are those in which the structure is in the reference or the prediction.
    """
    overall = _cells(summary.foreground_mean, summary.foreground_mean_interval["Dice"])
    grid = Table(box=SIMPLE, show_footer=True, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("Structure", "mean", overflow="fold")
    for title, foot in zip(_TITLES, [str(summary.cases), *overall], strict=True):
        grid.add_column(title, foot, justify="right", no_wrap=True)
    for name, mean in summary.mean.items():
        cells = _cells(mean, summary.mean_interval[name]["Dice"])
        grid.add_row(name, str(summary.counted[name]["Dice"]), *cells)
    page = io.StringIO()
    # Names are data: "[bold]" or ":knee:" in one is printed as it stands.
    console = Console(file=page, width=TABLE_COLUMNS, color_system=None, markup=False, emoji=False)
    console.print(grid)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    return "\n".join([*lines, _footnote(summary)])


def _check(
    scores_by_case: Mapping[str, CaseMetrics], subject_of: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Cases, sorted, and structures in the order of the label scheme."""
    if not scores_by_case:
        raise KneeformerError("there is no case to evaluate")
    cases = sorted(scores_by_case)
    structures = list(scores_by_case[cases[0]])
    for case in cases:
        if case not in subject_of:
            raise ValueError(f"case {case} has no subject")
        if set(scores_by_case[case]) != set(structures):
            raise ValueError(f"case {case} has other structures than case {cases[0]}")
    return cases, structures


def _bootstrap_weights(member: np.ndarray, subjects: int, seed: int) -> np.ndarray:
    """Count the draws of each case in each resample of the subjects.

    Args:
        member: (cases,) number of each case's subject.
        subjects: how many there are.
        seed: of the draw.

    Returns:
        (RESAMPLES, cases) float64; all NaN for one subject, from which no spread can be told.
    """
    if subjects < 2:
        return np.full((RESAMPLES, len(member)), math.nan)
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), RESAMPLES)
    return np.asarray(drawn[:, member], np.float64)


def _means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means over the cases in which a value is defined.

    Args:
        values: (cases, structures, metrics) float64, NaN where undefined.
        weights: (draws, cases) float64.

    Returns:
        (draws, structures, metrics) float64, NaN where no drawn case has a value.
    """
    defined = _defined(values)
    total = np.tensordot(weights, np.where(defined, values, 0.0), axes=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.tensordot(weights, defined, axes=1))


def _defined(values: np.ndarray) -> np.ndarray:
    return np.asarray(~np.isnan(values))


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is not NaN; NaN, without a warning, where nothing else is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def _interval(resampled: np.ndarray) -> np.ndarray:
    """(draws, metrics) -> (metrics, 2): the 2.5th and 97.5th percentile of the draws that are not NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanpercentile(resampled, [2.5, 97.5], axis=0).T)


def _by_metric(values: np.ndarray) -> dict[str, Any]:
    """(metrics, ...) -> metric -> number, or pair of numbers."""
    return dict(zip(METRICS, values.tolist(), strict=True))


def _cells(mean: Mapping[str, float], dice_interval: tuple[float, float]) -> list[str]:
    low, high = dice_interval
    return [
        _text(mean["Dice"], ".3f"),
        "-" if math.isnan(low) else f"{low:.3f}-{high:.3f}",
        *(_text(mean[m], ".3f") for m in ("IoU", "Precision", "Recall")),
        *(_text(mean[m], ".2f" if mean[m] < 100 else ".1f") for m in ("HD95_mm", "ASSD_mm")),
        _text(mean["VolumeError"], "+.1%" if abs(mean["VolumeError"]) < 1 else "+.0%"),
    ]


def _footnote(summary: Summary) -> str:
    cases = "1 case" if summary.cases == 1 else f"{summary.cases} cases"
    if summary.subjects == 1:
        return f"{cases} of 1 subject: no confidence interval (it needs two subjects)"
    return f"{cases} of {summary.subjects} subjects; 95 % CI: of Dice, bootstrap over subjects"


def _text(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
