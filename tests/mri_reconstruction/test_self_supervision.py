"""Learning from undersampled files: what is read, what is judged, and what is perfect."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_reconstruction import configuration
from torch import nn

from kneeformer.config import DatasetSettings
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.engine.batch import Batch
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.sampling import draw_mask
from kneeformer.networks.sense import root_sum_of_squares, to_image
from kneeformer.networks.sense import to_kspace as kspace_of
from kneeformer.phantoms.kspace import SHAPE, SPACING_MM, make_kspace
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches
from kneeformer.tasks.mri_reconstruction.prepare import hybrid_kspace, measured, prepare_truth
from kneeformer.tasks.mri_reconstruction.self_supervision import (
    SelfSupervisedObjective,
    magnitudes_by_noise,
    predicted_share,
    scan_moved,
    seen_part,
    withheld_error,
)
from kneeformer.tasks.mri_reconstruction.settings import (
    ReconstructionConfiguration,
    SelfSupervisionSettings,
)
from kneeformer.tasks.mri_reconstruction.task import Reconstruction

AXES = (-1,)
DATASET = DatasetSettings(name="Dataset120_KSpace", channel_names=("kspace",), labels={}, file_ending=".h5")


def by_itself() -> ReconstructionConfiguration:
    return configuration().model_copy(update={"self_supervision": SelfSupervisionSettings()})


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """All k-space of a phantom, (coils, slices, rows, columns): image along the rows."""
    whole = np.moveaxis(make_kspace(np.random.default_rng(0)), 1, 0)
    return hybrid_kspace(whole, SHAPE[1], (-1,))


@pytest.fixture
def mask(kspace: np.ndarray) -> np.ndarray:
    return draw_mask("random", measured(kspace, (-1,)), 4, [0])


@pytest.fixture
def batches(tmp_path: Path, kspace: np.ndarray, mask: np.ndarray) -> SlabBatches:
    """Of a case of which every fourth column was measured."""
    record = CaseRecord(
        origin=Origin(settings="", files=""),
        shape=kspace.shape[1:],
        spacing=SPACING_MM,
        orientation="SPL",
        points={},
    )
    save_case(tmp_path, "a", kspace * mask, None, record, (2, 32, 74))
    return SlabBatches([tmp_path / "a"], by_itself(), seed=1, training=True)


def network(batch: Batch) -> nn.Module:
    """Trained by nothing, but not at its beginning."""
    torch.manual_seed(0)
    found = Reconstruction().network(DATASET, by_itself())
    for parameter in found.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return found


def test_input_and_withheld_columns_are_those_measured(batches: SlabBatches, mask: np.ndarray) -> None:
    batch = batches[3]
    for seen, weights in zip(batch["mask"].numpy(), batch["weights"].numpy(), strict=True):
        withheld = weights > 0
        assert not (seen & withheld).any() and ((seen | withheld).ravel() == mask).all()
        assert 0.3 <= withheld.sum() / mask.sum() <= 0.5
    assert not torch.equal(batch["mask"][0], batch["mask"][1])
    assert not torch.equal(batch["again"][0], batch["again"][1])
    same = batches[3]
    assert all(torch.equal(batch[key], same[key]) for key in batch)


def test_withheld_samples_do_not_reach_the_network(batches: SlabBatches) -> None:
    seen = seen_part(batches[0], AXES)
    assert not (seen.samples * ~batches[0]["mask"]).any()


def test_no_unmeasured_value_is_read(batches: SlabBatches, mask: np.ndarray) -> None:
    """With NaN wherever nothing was measured, loss and gradients are numbers, and the same."""
    gradients = []
    for filled in (0, np.nan):
        batch, found = batches[0], network(batches[0])
        batch["samples"] = torch.where(torch.from_numpy(mask), batch["samples"], filled)
        torch.manual_seed(1)
        SelfSupervisedObjective("l1_ssim", 1.0, (-1,)).loss(found, batch).backward()
        gradients.append([p.grad for p in found.parameters() if p.grad is not None])
    assert gradients[0]
    for one, other in zip(*gradients, strict=True):
        assert torch.isfinite(one).all() and torch.equal(one, other)


def test_the_gradient_comes_from_withheld_samples_alone(batches: SlabBatches) -> None:
    batch = batches[0]
    images = torch.randn_like(batch["samples"]).requires_grad_()
    withheld_error(images, batch, AXES).backward()
    assert images.grad is not None
    energy = kspace_of(images.grad, AXES).abs()
    withheld = (batch["weights"] > 0).expand_as(energy)
    assert (energy[withheld] > 0).all() and energy[~withheld].max() < 1e-6 * energy.max()


def test_the_true_image_has_no_error_and_zeros_predict_nothing(
    batches: SlabBatches, kspace: np.ndarray
) -> None:
    batch = batches[0]
    truth = torch.randn_like(batch["samples"])
    batch["samples"] = kspace_of(truth, AXES)
    assert float(withheld_error(truth, batch, AXES)) < 1e-6
    assert predicted_share(truth, batch, AXES) == pytest.approx(1, abs=1e-6)
    assert predicted_share(torch.zeros_like(truth), batch, AXES) == pytest.approx(0, abs=1e-6)


def test_small_errors_count_squared_and_large_ones_as_they_are(batches: SlabBatches) -> None:
    batch = batches[0]
    batch["samples"] = torch.zeros_like(batch["samples"])
    batch["noise"] = torch.full_like(batch["noise"], 0.5)
    total = float(batch["weights"].sum((1, 2, 3, 4)).mean())
    for error, counts in ((0.005, 0.5 * 0.01**2), (50.0, 100 - 1)):
        images = to_image(torch.full_like(batch["samples"], error), AXES)
        assert float(withheld_error(images, batch, AXES)) == pytest.approx(total * counts, rel=0.01)


def test_what_was_not_measured_gets_the_noise_of_a_full_scan(batches: SlabBatches, mask: np.ndarray) -> None:
    """In air, the root sum of squares of four coils is sigma Gamma(4.5) / Gamma(4) on average."""
    batch = batches[0]
    batch["samples"], batch["noise"] = torch.zeros_like(batch["samples"]), torch.full((2, 4, 1, 1, 1), 0.3)
    found, noisy = magnitudes_by_noise(torch.zeros_like(batch["samples"]), batch, AXES)
    missing = np.ptp(np.flatnonzero(mask)) + 1 - mask.sum()
    sigma = 0.3 * math.sqrt(missing / len(mask))
    assert found.max() < 1e-5
    assert float(noisy.mean()) == pytest.approx(sigma * math.gamma(4.5) / math.gamma(4), rel=0.02)


def test_measured_samples_are_kept_and_padding_gets_no_noise(batches: SlabBatches, mask: np.ndarray) -> None:
    batch, missing = batches[0], batches[0]["missing"].numpy()[0].ravel()
    places = np.flatnonzero(mask)
    assert not missing[mask].any() and missing[places[0] : places[-1]].sum() == missing.sum()
    batch["noise"] = torch.zeros_like(batch["noise"])
    found, noisy = magnitudes_by_noise(torch.zeros_like(batch["samples"]), batch, AXES)
    expected = root_sum_of_squares(to_image(batch["samples"], AXES))
    assert torch.allclose(found, expected, atol=1e-5) and torch.equal(found, noisy)


def test_noise_teaches_the_correction_of_magnitudes_and_nothing_else(batches: SlabBatches) -> None:
    """Where all is air, nothing withheld is missed, and magnitudes without noise are too small."""
    found, batch = Reconstruction().network(DATASET, by_itself()), batches[0]
    batch["samples"], batch["noise"] = torch.zeros_like(batch["samples"]), torch.full((2, 4, 1, 1, 1), 0.1)
    SelfSupervisedObjective("mse", 0.0, AXES).loss(found, batch).backward()
    gradients = {name: p.grad for name, p in found.named_parameters() if p.grad is not None}
    offset = gradients.pop("bias.layers.4.bias")
    assert (offset < 0).all(), "larger magnitudes lower the loss"
    assert not any(gradient.any() for name, gradient in gradients.items() if not name.startswith("bias."))


def test_a_second_scan_without_noise_that_measures_all_is_reconstructed_as_it_is(
    batches: SlabBatches,
) -> None:
    batch = batches[0]
    batch["again"], batch["noise"] = torch.ones_like(batch["again"]), torch.zeros_like(batch["noise"])
    untrained = Reconstruction().network(DATASET, by_itself())
    splitting, both = (
        SelfSupervisedObjective("mse", weight, (-1,)).loss(untrained, batch) for weight in (0.0, 1.0)
    )
    assert float((both - splitting).detach()) == pytest.approx(0, abs=1e-6)


def test_what_is_scanned_again_is_flipped_and_shifted_along_the_columns(batches: SlabBatches) -> None:
    batch = batches[0]
    batch["noise"] = torch.zeros_like(batch["noise"])
    batch["flip"], batch["shift"] = torch.tensor([True, False]), torch.tensor([0, 3])
    image = torch.randn_like(batch["samples"][:, 0])
    maps = batch["sensitivities"]
    again = to_image(scan_moved(maps * image.unsqueeze(1), batch, AXES), AXES)
    combined = (maps.conj() * again).sum(1)
    assert torch.allclose(combined[0], image[0].flip(-1), atol=1e-4)
    assert torch.allclose(combined[1, ..., 3:], image[1, ..., :-3], atol=1e-4)


def test_the_noise_of_a_second_scan_is_that_of_the_first(batches: SlabBatches) -> None:
    batch = batches[0]
    nothing = scan_moved(torch.zeros_like(batch["samples"]), batch, AXES)
    found = nothing.abs().square().mean((2, 3, 4)).sqrt()
    assert torch.allclose(found, batch["noise"][:, :, 0, 0, 0], rtol=0.05)


def test_two_phase_encoding_axes_are_not_split() -> None:
    settings = by_itself().model_dump()
    settings["preprocessing"]["phase_encoding_axes"] = (0, 2)
    settings["sampling"]["kind"] = "poisson_disc"
    with pytest.raises(ValueError, match="splits columns"):
        ReconstructionConfiguration.model_validate(settings)


def test_the_noise_of_an_item_is_the_same_for_any_number_of_ranks(batches: SlabBatches) -> None:
    """Two items scanned in one batch, and each in a batch of its own."""
    batch = batches[0]
    images = torch.zeros_like(batch["samples"])
    together = scan_moved(images, batch, AXES)
    for item in range(2):
        alone = {name: values[item : item + 1] for name, values in batch.items()}
        torch.testing.assert_close(scan_moved(images[:1], alone, AXES)[0], together[item])
    assert not torch.equal(together[0], together[1])


def test_what_a_self_supervised_network_makes_says_so() -> None:
    samples = np.moveaxis(make_kspace(np.random.default_rng(0), (1, 32, 32)), 1, 0)
    scan, task = Scan(samples, Grid((1, 32, 32), SPACING_MM)), Reconstruction()
    for settings, said in ((by_itself(), True), (configuration(), False)):
        outputs = task.predict([task.network(DATASET, settings).eval()], scan, DATASET, settings)
        assert ("supervision" in outputs.facts) is said


def test_an_undersampled_file_is_no_truth_of_a_plan_that_learns_from_truths() -> None:
    """As where it was added after the plan was made: its aliases would be learnt without a word."""
    kspace = np.ones((1, 2, 32, 64), np.complex64)
    kspace[..., np.arange(64) % 4 > 0] = 0
    kspace[..., 28:36] = 1
    scan, scheme = Scan(kspace, Grid((2, 32, 64), (4.5, 1.9, 1.9))), DATASET.scheme
    supervised = configuration()
    by_itself = supervised.model_copy(update={"self_supervision": SelfSupervisionSettings()})
    assert prepare_truth(scan, None, by_itself, scheme).image.shape == (1, 2, 32, 64)
    # columns 0 to 60, of which every fourth and six more of 28 to 35
    with pytest.raises(KneeformerError, match=r"2\.8x itself, but the plan is for fully sampled"):
        prepare_truth(scan, None, supervised, scheme)
