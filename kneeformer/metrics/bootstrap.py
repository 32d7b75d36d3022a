"""Bootstrap confidence interval of a mean over trainings and subjects: both are resampled."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from kneeformer.metrics.summary import CaseScores

RESAMPLES = 5000

Interval = tuple[float, float, float]  # mean, low, high


def seeds_and_subjects_interval(values: np.ndarray, seed: int = 12345) -> Interval:
    """Mean, and its 95 % bootstrap interval, of a score that varies with the seed and with the subject.

    Seeds and subjects are both drawn with replacement (pigeonhole bootstrap: Owen 2007): another training
    on other patients. A paired difference is the difference of two such arrays.

    Args:
        values: (seeds, subjects) float.

    Returns:
        mean, low, high; low and high are NaN with fewer than two subjects.
    """
    mean = float(values.mean())
    seeds, subjects = values.shape
    if subjects < 2:
        return mean, float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    columns = rng.multinomial(subjects, np.full(subjects, 1 / subjects), RESAMPLES) / subjects
    means = np.einsum("rs,sp,rp->r", rows, values, columns)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def subjects_interval(values: Iterable[float]) -> Interval:
    """As `seeds_and_subjects_interval` of one training; all NaN where there is no subject."""
    found = np.array([[*values]])
    return seeds_and_subjects_interval(found) if found.size else (math.nan, math.nan, math.nan)


def by_subject(cases: Iterable[CaseScores], score: Callable[[CaseScores], float]) -> dict[str, float]:
    """Mean over each subject's cases in which the score is defined; subjects without any are left out."""
    values: dict[str, list[float]] = {}
    for case in cases:
        value = score(case)
        if not math.isnan(value):
            values.setdefault(case.subject, []).append(value)
    return {subject: float(np.mean(found)) for subject, found in sorted(values.items())}


def interval_text(interval: Interval, form: str) -> str:
    """ "mean (low to high)", the mean alone where there is no interval, or "-"."""
    mean, low, high = (format(value, form) for value in interval)
    if math.isnan(interval[0]):
        return "-"
    return mean if math.isnan(interval[1]) else f"{mean} ({low} to {high})"
