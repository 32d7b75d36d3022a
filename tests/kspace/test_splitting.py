"""What is withheld of measured columns, and what each counts for."""

from collections.abc import Callable

import numpy as np
import pytest

from kneeformer.kspace.noise import noise_level
from kneeformer.kspace.sampling import draw_mask
from kneeformer.kspace.splitting import (
    centre_of,
    reach_of,
    sampling_density,
    withheld_weights,
    withhold,
)

COLUMNS = 110
ACQUIRED = (np.arange(COLUMNS) >= 6) & (np.arange(COLUMNS) < 104)
DISTANCE = abs(np.arange(COLUMNS) - COLUMNS // 2)


def of_one_density(rng: np.random.Generator) -> np.ndarray:
    return draw_mask("random", ACQUIRED, 4, [int(rng.integers(2**31))])


def denser_inside(rng: np.random.Generator) -> np.ndarray:
    return ACQUIRED & ((DISTANCE < 6) | (rng.random(COLUMNS) < DENSER))


DENSER = np.where(DISTANCE < 6, 1.0, 0.6 - 0.5 * DISTANCE / 55)


def test_the_share_of_the_measured_columns_is_withheld_and_none_of_the_centre() -> None:
    measured = of_one_density(np.random.default_rng(0))
    withheld = withhold(measured, 0.4, np.random.default_rng(1))
    assert withheld.sum() == round(0.4 * measured.sum()) and not (withheld & ~measured).any()
    assert not (withheld & centre_of(measured)).any()
    assert (withhold(measured, 0.4, np.random.default_rng(1)) == withheld).all()
    assert (withhold(measured, 0.4, np.random.default_rng(2)) != withheld).any()


def test_where_the_centre_is_nearly_all_one_other_column_is_left() -> None:
    measured = DISTANCE < 8
    measured[[20, 30, 40]] = True
    assert withhold(measured, 0.9, np.random.default_rng(0)).sum() == 2
    assert not withhold(DISTANCE < 8, 0.4, np.random.default_rng(0)).any()


@pytest.mark.parametrize("draw", [of_one_density, denser_inside])
@pytest.mark.parametrize("share", [0.2, 0.4])
def test_the_weighted_loss_is_on_average_that_of_all_columns_not_seen(
    draw: Callable[[np.random.Generator], np.ndarray], share: float
) -> None:
    """Monte Carlo over masks and splits; the loss of each column is any number, here larger outside."""
    rng = np.random.default_rng(0)
    losses = ACQUIRED * rng.random(COLUMNS) * (1 + DISTANCE)
    density = np.mean([draw(rng) for _ in range(4000)], 0)
    weighted, unseen = [], []
    for _ in range(4000):
        measured = draw(rng)
        withheld = withhold(measured, share, rng)
        weighted.append((withheld_weights(density, measured, withheld) * losses).sum())
        unseen.append(losses[~(measured & ~withheld)].sum())
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - np.mean(unseen)) < 4 * error + 0.01 * np.mean(unseen)


@pytest.mark.parametrize("draw", [of_one_density, denser_inside])
def test_the_density_of_many_scans_is_seen_in_one(draw: Callable[[np.random.Generator], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    masks = [draw(rng) for _ in range(300)]
    true, found = np.mean(masks, 0), np.mean([sampling_density(mask) for mask in masks], 0)
    inside = ACQUIRED & (DISTANCE < 40)
    assert abs(found - true)[inside].mean() < 0.05 and np.corrcoef(found[inside], true[inside])[0, 1] > 0.9
    assert (sampling_density(masks[0])[centre_of(masks[0])] == 1).all()
    assert not sampling_density(masks[0])[~reach_of(masks[0])].any()


def test_all_columns_count_once_where_all_are_measured_and_half_of_them_withheld() -> None:
    measured = np.ones(64, bool)
    measured[[10, 54]] = False
    withheld = np.zeros(64, bool)
    outside = np.flatnonzero(measured & ~centre_of(measured))
    withheld[outside[::2]] = True
    weights = withheld_weights(np.ones(64), measured, withheld)
    np.testing.assert_allclose(weights[withheld], 1.0)  # p = 1: what is not seen was withheld
    assert not weights[~withheld].any()


def test_noise_is_told_from_the_samples_that_hold_no_image() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 3, 40, COLUMNS)) + 1j * rng.standard_normal((2, 3, 40, COLUMNS))
    noise *= np.array([0.1, 0.3]).reshape(2, 1, 1, 1) / np.sqrt(2)
    image = 50 * np.exp(-((DISTANCE / 8) ** 2))
    for mask in (ACQUIRED, of_one_density(rng)):
        np.testing.assert_allclose(noise_level((noise + image) * mask), [0.1, 0.3], rtol=0.1)
