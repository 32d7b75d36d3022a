"""Splits of what was measured into an input and what is withheld from it, for training without a truth.

Self-supervision by data undersampling (Yaman et al. 2020): a network sees a part of the measured columns and
is judged on the others. The middle is always seen. Weights by sampling density make the loss of the withheld
columns, on average over masks and splits, that of all columns not seen (after Millard and Chiew 2023).
"""

import numpy as np
from scipy import ndimage

from kneeformer.kspace.fastmri_masks import centre_lines
from kneeformer.kspace.sampling import centre_width

_SMOOTHING = 0.1  # deviation over the number of columns: about the density, not about single columns


def centre_of(measured: np.ndarray) -> np.ndarray:
    """(columns,) bool: the columns around the zero frequency without a gap; coil sensitivities need them."""
    return centre_lines(len(measured), centre_width(measured))


def reach_of(measured: np.ndarray) -> np.ndarray:
    """(columns,) bool: from the first measured column to the last; beyond may be padding."""
    places = np.flatnonzero(measured)
    within = np.zeros(len(measured), bool)
    within[places[0] : places[-1] + 1] = True
    return within


def withhold(measured: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """(columns,) bool: a random `share` of the measured columns, none of them of the centre.

    Where the centre leaves fewer than that, they are all of the others but one.
    """
    outside = np.flatnonzero(measured & ~centre_of(measured))
    count = min(round(share * int(measured.sum())), max(0, len(outside) - 1))
    withheld = np.zeros(len(measured), bool)
    withheld[rng.choice(outside, count, replace=False)] = True
    return withheld


def sampling_density(measured: np.ndarray) -> np.ndarray:
    """(columns,) float: probability that a scan like this one measures a column.

    1 in the centre; elsewhere the share of columns measured around there, and around there on the other side
    of the zero frequency. 0 before the first measured column and after the last.
    """
    within, centre = reach_of(measured), centre_of(measured)
    outside = within & ~centre
    deviation = _SMOOTHING * len(measured)
    there, possible = (
        ndimage.gaussian_filter1d(_both_sides(columns.astype(float)), deviation, mode="constant")
        for columns in (measured & outside, outside)
    )
    density = np.divide(there, possible, out=np.zeros(len(measured)), where=possible > 0)
    return np.where(centre, 1.0, np.where(within, density, 0.0))


def withheld_weights(density: np.ndarray, measured: np.ndarray, withheld: np.ndarray) -> np.ndarray:
    """(columns,) float: what a withheld column counts for; 0 of all others.

    One over the probability that a column which the network does not see was measured and withheld,
    p r / (1 - p (1 - r)): the sampling density p, and the share r that is withheld of what was measured
    outside the centre. Summed with them, what is withheld is, on average, the sum over all columns not seen.
    """
    outside = measured & ~centre_of(measured)
    share = withheld.sum() / max(1, outside.sum())
    unseen = 1 - density * (1 - share)
    return np.asarray(np.divide(unseen, density * share, out=np.zeros(len(density)), where=withheld))


def _both_sides(columns: np.ndarray) -> np.ndarray:
    """The sum of columns of one distance from the zero frequency, n // 2, at either of them."""
    distant = 2 * (len(columns) // 2) - np.arange(len(columns))
    mirrored = np.where(distant < len(columns), columns[np.minimum(distant, len(columns) - 1)], 0.0)
    return np.asarray(columns + mirrored)
