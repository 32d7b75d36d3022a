"""Masks: fastMRI's bit for bit, our own of an exact number of samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from kneeformer.errors import KneeformerError
from kneeformer.kspace.fastmri_masks import centre_lines, fastmri_mask, seed_of_file
from kneeformer.kspace.sampling import MASK_KINDS, centre_width, draw_mask, poisson_disc, true_acceleration

FROZEN = json.loads((Path(__file__).parent / "fastmri_masks.json").read_text())


@pytest.mark.parametrize("case", FROZEN, ids=lambda c: f"{c['kind']}-{c['columns']}-{c['acceleration']}x")
def test_a_mask_is_what_fastmri_itself_drew(case: dict[str, object]) -> None:
    """The file was written by facebookresearch/fastMRI's subsample.py, commit 91f2df4."""
    mask = fastmri_mask(
        str(case["kind"]),
        int(str(case["columns"])),
        int(str(case["acceleration"])),
        float(str(case["centre_fraction"])),
        seed_of_file(str(case["file"])),
    )
    assert np.flatnonzero(mask).tolist() == case["measured"]


def test_a_centre_that_takes_all_is_refused_by_name() -> None:
    with pytest.raises(KneeformerError, match="the centre takes 10"):
        fastmri_mask("random", 40, 4, 0.25, [1])
    with pytest.raises(KneeformerError, match="not one of random"):
        draw_mask("spiral", np.ones(8, bool), 4, [1])
    with pytest.raises(KneeformerError, match="1 or more"):
        draw_mask("random", np.ones(8, bool), 0.5, [1])
    with pytest.raises(KneeformerError, match="for 2 phase-encoding axes, but these data have 1"):
        draw_mask("poisson_disc", np.ones(8, bool), 4, [1])


@pytest.mark.parametrize("kind", ["random", "equispaced"])
@pytest.mark.parametrize(("acceleration", "centre"), [(4, 13), (8, 7)])
def test_our_masks_measure_an_exact_number_of_acquired_columns(
    kind: str, acceleration: int, centre: int
) -> None:
    acquired = np.ones(184, bool)
    acquired[:9], acquired[-9:] = False, False
    for seed in range(5):
        mask = draw_mask(kind, acquired, acceleration, [seed])
        assert mask.sum() == round(166 / acceleration) and not (mask & ~acquired).any()
        assert mask[centre_lines(184, centre)].all() and centre_width(mask) >= centre
    assert true_acceleration(mask, acquired) == pytest.approx(acceleration, rel=0.02)


def test_a_small_matrix_keeps_six_centre_lines_and_says_what_that_costs() -> None:
    acquired = np.ones(35, bool)
    mask = draw_mask("random", acquired, 8, [0])
    assert mask.sum() == centre_width(mask) == 6
    assert true_acceleration(mask, acquired) == pytest.approx(35 / 6)


def test_nominal_and_true_acceleration_of_fastmri_masks_differ() -> None:
    acquired = np.ones(368, bool)
    true = [true_acceleration(draw_mask("fastmri_random", acquired, 8, [s]), acquired) for s in range(40)]
    assert min(true) < 7 and max(true) > 9


def test_every_kind_is_drawn_by_its_seed_alone() -> None:
    acquired = {1: np.ones(96, bool), 2: np.ones((40, 48), bool)}
    for kind in MASK_KINDS:
        there = acquired[2 if kind == "poisson_disc" else 1]
        drawn = [draw_mask(kind, there, 4, [5, number]).tobytes() for number in (*range(8), 0)]
        assert drawn[0] == drawn[-1] and len(set(drawn)) > 1


def test_a_poisson_disc_is_dense_in_the_middle_and_keeps_its_distance() -> None:
    acquired = np.ones((64, 72), bool)
    mask = poisson_disc(acquired, 6, np.random.default_rng(0))
    assert mask.sum() == round(64 * 72 / 6)
    assert mask[32 - 9 : 32 + 9, 36 - 9 : 36 + 9].all()  # isqrt(768 / 2) = 19 samples along each axis
    edge = mask.copy()
    edge[8:-8, 8:-8] = False
    assert edge[:8].mean() < 0.5 * mask.mean()
    points = np.argwhere(edge)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert apart[apart > 0].min() > 2
