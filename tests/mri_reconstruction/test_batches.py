"""Prepared k-space and the slabs that are drawn from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_reconstruction import configuration

from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import zero_filled
from kneeformer.labels import LabelScheme
from kneeformer.metrics.reconstruction import ssim
from kneeformer.networks.sense import root_sum_of_squares, to_image
from kneeformer.phantoms.kspace import SHAPE, SPACING_MM, make_kspace
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches, measurement_of
from kneeformer.tasks.mri_reconstruction.objective import uniform_ssim
from kneeformer.tasks.mri_reconstruction.prepare import (
    as_mask,
    from_magnitudes,
    hybrid_kspace,
    measured,
    prepare_kspace,
    scale_of,
    zero_filled_volume,
)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """(coils, slices, rows, columns)."""
    return np.moveaxis(make_kspace(np.random.default_rng(0)), 1, 0)


@pytest.fixture
def stored(tmp_path: Path, kspace: np.ndarray) -> Path:
    hybrid = hybrid_kspace(kspace, SHAPE[1], (-1,))
    shape = (hybrid.shape[1], hybrid.shape[2], hybrid.shape[3])
    record = CaseRecord(
        origin=Origin(settings="", files=""), shape=shape, spacing=SPACING_MM, orientation="SPL", points={}
    )
    save_case(tmp_path, "a", hybrid, None, record, (4, 32, 74))
    return tmp_path / "a"


def test_the_readout_becomes_an_image_and_loses_its_oversampling_alone(kspace: np.ndarray) -> None:
    hybrid = hybrid_kspace(kspace, SHAPE[1], (-1,))
    assert hybrid.shape == (4, 8, 64, 74)
    np.testing.assert_allclose(
        zero_filled_volume(hybrid, (-1,), SHAPE), zero_filled(kspace, SHAPE), rtol=1e-4, atol=1e-5
    )
    assert (measured(hybrid, (-1,)) == kspace.any((0, 1, 2))).all()


def test_kspace_without_its_middle_is_refused(kspace: np.ndarray) -> None:
    """Undersampled, with the zero frequency in the middle or, as a plain FFT has it, at the ends."""
    mask = np.zeros(74, bool)
    mask[34:40], mask[5:70:7] = True, True
    grid, no_labels = Grid(SHAPE, SPACING_MM), LabelScheme.from_json({})
    assert prepare_kspace(Scan(kspace * mask, grid), None, configuration(), no_labels).image.any()
    with pytest.raises(KneeformerError, match="no samples in the middle of its k-space"):
        prepare_kspace(Scan(kspace * np.roll(mask, 37), grid), None, configuration(), no_labels)


def test_slices_of_different_masks_are_refused(kspace: np.ndarray) -> None:
    grid, no_labels, stopped = Grid(SHAPE, SPACING_MM), LabelScheme.from_json({}), kspace.copy()
    stopped[:, 5] = 0
    assert prepare_kspace(Scan(stopped, grid), None, configuration(), no_labels).image.any()
    stopped[:, 2, :, 60:] = 0
    with pytest.raises(KneeformerError, match="slice 3 was measured in 56 of the 66 columns of all slices"):
        prepare_kspace(Scan(stopped, grid), None, configuration(), no_labels)


def test_the_scale_of_a_volume_is_the_same_for_every_mask(kspace: np.ndarray) -> None:
    hybrid = hybrid_kspace(kspace, SHAPE[1], (-1,))
    mask = np.zeros(74, bool)
    mask[34:40] = True
    assert scale_of(hybrid * as_mask(mask, (-1,)), (-1,)) == pytest.approx(scale_of(hybrid, (-1,)), rel=1e-5)
    assert scale_of(3 * hybrid, (-1,)) == pytest.approx(3 * scale_of(hybrid, (-1,)), rel=1e-5)


def test_magnitudes_have_the_kspace_of_one_coil() -> None:
    image = np.random.default_rng(0).random((1, 3, 8, 6))
    found = zero_filled(from_magnitudes(image), (3, 8, 6))
    np.testing.assert_allclose(found, image[0], atol=1e-5)


def test_a_slab_keeps_every_column_and_cuts_slices_and_rows(stored: Path) -> None:
    batch = SlabBatches([stored], configuration(crop=(3, 24, 64)), seed=1, training=True)[5]
    assert batch["samples"].shape == batch["sensitivities"].shape == (2, 4, 3, 24, 74)
    assert batch["mask"].shape == (2, 1, 1, 1, 74) and batch["target"].shape == (2, 3, 24, 74)
    assert not torch.equal(batch["mask"][0], batch["mask"][1])
    assert not (batch["samples"] * ~batch["mask"]).abs().any()
    sums = batch["sensitivities"].abs().square().sum(1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-4)


def test_a_step_is_the_same_batch_at_any_time_and_each_has_its_own_masks(stored: Path) -> None:
    settings = configuration()
    one, same = (SlabBatches([stored], settings, seed=1, training=True)[3] for _ in range(2))
    other = SlabBatches([stored], settings, seed=1, training=True)[4]
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["mask"], other["mask"])


def test_shares_of_a_batch_are_its_parts(stored: Path) -> None:
    batches = SlabBatches([stored], configuration(), seed=1, training=True)
    whole = batches[3]
    for item in range(2):
        batches.items = range(item, item + 1)
        assert all(torch.equal(part[0], whole[name][item]) for name, part in batches[3].items())


def test_validation_slabs_are_few_and_of_one_acceleration(stored: Path) -> None:
    batches = SlabBatches([stored], configuration(), seed=1, training=False)
    assert len(batches) == 2 and {int(batches[i]["mask"].sum()) for i in range(2)} == {2 * round(66 / 4)}
    with pytest.raises(IndexError):
        batches[2]


def test_all_samples_give_the_target(stored: Path) -> None:
    full = configuration().model_copy(
        update={"sampling": configuration().sampling.model_copy(update={"accelerations": (1.0, 1.0)})}
    )
    batch = SlabBatches([stored], full, seed=1, training=True)[0]
    images = to_image(measurement_of(batch, (-1,)).samples, (-1,))
    assert torch.allclose(root_sum_of_squares(images), batch["target"], atol=1e-4)
    assert (batch["target"].amax((1, 2, 3)) <= batch["peak"] * 1.0001).all()


def test_the_ssim_that_is_learnt_is_the_metric() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((2, 16, 20)).astype(np.float32)
    truth /= truth.max()
    found = (truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    learnt = float(uniform_ssim(torch.from_numpy(found)[None], torch.from_numpy(truth)[None]))
    assert learnt == pytest.approx(ssim(truth, found), abs=1e-4)
