"""Confidence intervals of means, by bootstrap over random factors.

One factor, the subjects, gives the cluster bootstrap (Davison and Hinkley 1997, 3.8): a subject is drawn with
all its cases, because two scans of one knee are not independent. Several factors, such as subjects and seeds
of trainings, are drawn independently (pigeonhole bootstrap: Owen 2007).
"""

import math
import warnings
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
SEED = 12345
ENOUGH_SUBJECTS = 10  # with fewer, a 95 % interval covers the mean of normal scores in less than 90 %


class Interval(NamedTuple):
    """A mean and its 95 % interval, which is NaN with fewer than two subjects."""

    mean: float
    low: float
    high: float


def bootstrap_weights(*factors: Sequence[Hashable], seed: int = SEED) -> np.ndarray:
    """Count the draws of each observation in each resample.

    Args:
        factors: subject of each observation; then further random factors, such as its seed.
        seed: of the draws.

    Returns:
        (RESAMPLES, observations) float64; all NaN with fewer than two subjects.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((RESAMPLES, len(factors[0])))
    for factor in factors:
        levels, member = np.unique(np.array(factor), return_inverse=True)
        share = np.full(len(levels), 1 / len(levels))
        weights *= rng.multinomial(len(levels), share, RESAMPLES)[:, member]
    return weights if len(set(factors[0])) > 1 else np.full_like(weights, math.nan)


def weighted_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means over the observations that are defined.

    Args:
        values: (observations, ...) float64, NaN where undefined.
        weights: (resamples, observations) float64.

    Returns:
        (resamples, ...) float64, NaN where no drawn observation is defined.
    """
    defined = ~np.isnan(values)
    total = np.tensordot(weights, np.where(defined, values, 0.0), axes=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.tensordot(weights, defined, axes=1))


def percentiles(resampled: np.ndarray) -> np.ndarray:
    """(resamples, ...) -> (2, ...): the 2.5th and 97.5th percentile of the resamples that are not NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanpercentile(resampled, [2.5, 97.5], axis=0))


def mean_interval(values: Iterable[float], *factors: Sequence[Hashable], seed: int = SEED) -> Interval:
    """Mean of observations, and its 95 % bootstrap interval; all NaN where nothing is defined.

    Args:
        values: one per observation, NaN where undefined.
        factors: as in `bootstrap_weights`; without them every observation has its own subject.
    """
    observed = np.array([*values], np.float64)
    if not (~np.isnan(observed)).any():
        return Interval(math.nan, math.nan, math.nan)
    weights = bootstrap_weights(*(factors or (range(len(observed)),)), seed=seed)
    low, high = percentiles(weighted_means(observed, weights))
    return Interval(float(np.nanmean(observed)), float(low), float(high))


def caution(subjects: int) -> str:
    """A warning if an interval rests on too few subjects; else ""."""
    if not 1 < subjects < ENOUGH_SUBJECTS:
        return ""
    return f"{subjects} subjects are few: bootstrap intervals of less than {ENOUGH_SUBJECTS} are too narrow"


def seeds_and_subjects_interval(values: np.ndarray) -> Interval:
    """`mean_interval` of a score that varies with the seed of a training and with the subject.

    A paired difference is the difference of two such arrays.

    Args:
        values: (seeds, subjects) float.
    """
    seeds, subjects = np.indices(values.shape)
    return mean_interval(values.ravel(), subjects.ravel().tolist(), seeds.ravel().tolist())
