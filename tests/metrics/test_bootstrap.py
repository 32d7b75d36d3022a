"""The interval of a mean over seeds and subjects: by hand, and as it should behave."""

import itertools

import numpy as np
import pytest

from kneeformer.metrics.bootstrap import caution, seeds_and_subjects_interval

pytestmark = pytest.mark.slow


def simulated(rng: np.random.Generator, seeds: int, subjects: int, noise: float = 0.0) -> np.ndarray:
    """Scores that differ by seed (deviation 1), by subject (1), and by chance."""
    means = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, subjects))
    return means + noise * rng.normal(size=(seeds, subjects))


def width(values: np.ndarray) -> float:
    _, low, high = seeds_and_subjects_interval(values)
    return high - low


def test_the_mean_by_hand() -> None:
    values = np.array([[0.9, 0.8, 0.4], [0.7, 0.6, 0.2]])
    mean, low, high = seeds_and_subjects_interval(values)
    assert mean == pytest.approx(0.6)
    assert 0.2 <= low < mean < high <= 0.9


def test_the_interval_by_hand() -> None:
    # One seed, two subjects: a draw is 0 and 0 (a quarter), 0 and 1 (a half), or 1 and 1 (a quarter).
    assert seeds_and_subjects_interval(np.array([[0.0, 1.0]])) == (0.5, 0.0, 1.0)
    # Two and two: the mean is 0 where seed 0 or subject 0 is drawn twice (7 of 16 draws), 1 in one of 16
    assert seeds_and_subjects_interval(np.array([[0.0, 0.0], [0.0, 1.0]])) == (0.25, 0.0, 1.0)


def test_the_interval_is_that_of_all_draws_there_are() -> None:
    values = np.random.default_rng(0).normal(size=(2, 4))
    rows, columns = (list(itertools.product(range(n), repeat=n)) for n in values.shape)
    means = np.sort([values[np.ix_(r, c)].mean() for r in rows for c in columns])
    _, low, high = seeds_and_subjects_interval(values)
    for found, share in ((low, 0.025), (high, 0.975)):
        assert np.searchsorted(means, found) / len(means) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("seeds", "subjects"), [(1, 2), (3, 5), (3, 1)])
@pytest.mark.parametrize("score", [0.0, 0.1, 0.7, 1 / 3])
def test_equal_scores_have_an_interval_without_width(seeds: int, subjects: int, score: float) -> None:
    mean, low, high = seeds_and_subjects_interval(np.full((seeds, subjects), score))
    assert mean == pytest.approx(score)
    if subjects > 1:
        assert low == pytest.approx(score) and high == pytest.approx(score)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_subject_says_nothing_of_others(seeds: int) -> None:
    mean, low, high = seeds_and_subjects_interval(np.linspace(0, 1, seeds + 1)[1:, None])
    assert mean == pytest.approx((1 + 1 / seeds) / 2)
    assert np.isnan(low) and np.isnan(high)


def test_more_seeds_and_more_subjects_are_surer() -> None:
    rng = np.random.default_rng(1)
    widths = {
        (seeds, subjects): np.mean([width(simulated(rng, seeds, subjects)) for _ in range(20)])
        for seeds, subjects in ((3, 40), (12, 40), (40, 40), (12, 10))
    }
    assert widths[3, 40] > 1.2 * widths[12, 40] > 1.2**2 * widths[40, 40]
    assert widths[12, 10] > 1.2 * widths[12, 40]


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [seeds_and_subjects_interval(simulated(rng, 15, 15, noise=1.0)) for _ in range(200)]
    covered = np.mean([low <= 0 <= high for _, low, high in intervals])
    assert 0.88 <= covered <= 0.995


def test_the_difference_of_pairs_is_surer_than_either() -> None:
    rng = np.random.default_rng(3)
    without = 0.6 + 0.1 * simulated(rng, 3, 10)
    with_it = without + 0.02 + 0.001 * rng.normal(size=without.shape)
    mean, low, high = seeds_and_subjects_interval(with_it - without)
    assert mean == pytest.approx(with_it.mean() - without.mean())
    assert 0.015 < low < mean < high < 0.025
    assert high - low < 0.1 * width(with_it)


def test_scores_decide_and_nothing_else() -> None:
    values = np.random.default_rng(4).random((3, 6))
    assert seeds_and_subjects_interval(values) == seeds_and_subjects_interval(values.copy())
    mean, low, high = seeds_and_subjects_interval(100 * values)
    assert (mean, low, high) == pytest.approx([100 * v for v in seeds_and_subjects_interval(values)])


def test_few_subjects_are_told() -> None:
    assert caution(1) == "" == caution(10)  # one has no interval, ten are enough
    assert caution(9) == "9 subjects are few: bootstrap intervals of less than 10 are too narrow"
