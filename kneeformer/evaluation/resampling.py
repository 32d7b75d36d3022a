"""How sure a mean over trainings and subjects is: both are drawn again."""

import numpy as np

RESAMPLES = 5000


def seeds_and_subjects_interval(values: np.ndarray, seed: int = 12345) -> tuple[float, float, float]:
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
