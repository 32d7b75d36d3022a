"""Masked pre-training of reconstructions: complex images as two channels, and what `3d_vit` takes over."""

import numpy as np
import pytest
import torch
from small_reconstruction import configuration, losses_on

from kneeformer.config import DatasetSettings, MaskingSettings
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.engine.weight_transfer import transfer
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.fourier import to_kspace
from kneeformer.labels import LabelScheme
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import case_fingerprint, dataset_fingerprint
from kneeformer.tasks.mri_reconstruction.masked_slabs import masked_slab
from kneeformer.tasks.mri_reconstruction.planning import masked_configurations
from kneeformer.tasks.mri_reconstruction.pretraining import ReconstructionPretraining
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration
from kneeformer.tasks.mri_reconstruction.task import Reconstruction

DATASET = DatasetSettings(name="D", channel_names=("kspace",), labels={}, file_ending=".h5")
MASKING = MaskingSettings(ratio=0.5, filler_width=12, filler_depth=1)


def masked() -> ReconstructionConfiguration:
    plain = configuration(crop=(1, 16, 32))
    training = plain.training.model_copy(update={"loss": "mse"})
    return plain.model_copy(update={"cascades": None, "masking": MASKING, "training": training})


def kspace() -> np.ndarray:
    """(2 coils, 1 slice, 16 rows, 30 columns) of a bright block in air, without noise."""
    image = np.zeros((1, 16, 30), np.complex64)
    image[:, 4:12, 8:22] = 1
    coils = np.exp(1j * np.linspace(0, 1, 30)) * np.array([0.6, 0.8])[:, None, None, None]
    return to_kspace((image * coils).astype(np.complex64), (3,))


def test_the_image_is_combined_padded_to_tokens_and_its_air_excluded() -> None:
    samples, rng = kspace(), np.random.default_rng(0)
    slab = masked_slab(samples, np.ones(30, bool), slice(0, 16), (-1,), (1, 8, 8), MASKING, rng)
    assert slab["image"].shape == (2, 1, 16, 32) and slab["visible"].shape == (1, 2, 4)
    assert slab["visible"].sum() == 4
    maps = coil_sensitivities(samples, (-1,), 24)
    modulus = np.hypot(*slab["image"])[0, 4:12, 9:23]  # one column is added on either side
    cosine = np.abs((maps.conj() * np.array([0.6, 0.8])[:, None, None, None]).sum(0))[0, 4:12, 8:22]
    np.testing.assert_allclose(modulus, cosine, atol=1e-5)
    counted = slab["labels"] != IGNORE_INDEX
    assert counted[0, 4:12, 9:23].all() and counted.sum() == 8 * 14


def test_stem_and_encoder_are_taken_over_and_denoisers_still_begin_at_zero() -> None:
    torch.manual_seed(0)
    source = ReconstructionPretraining().network(DATASET, masked())
    network = Reconstruction().network(DATASET, configuration())
    found = transfer(source.state_dict(), network, "3d_mae")
    parts = {name.split(".")[3] for name in found.transferred}
    assert parts == {"stem", "encoder"} and found.transferred == found.fine_tuned
    assert not [name for name in found.new if ".stem." in name or ".encoder." in name]
    denoiser = network.get_submodule("denoisers.0")
    image, place = torch.randn(1, 2, 1, 16, 30), torch.eye(3, 4)[None]
    assert not denoiser(image, place).any()


def test_training_lowers_the_error_of_hidden_voxels() -> None:
    task, settings = ReconstructionPretraining(), masked()
    network, objective = task.network(DATASET, settings), task.objective(DATASET, settings)
    drawn = masked_slab(
        kspace(), np.ones(30, bool), slice(0, 16), (-1,), (1, 8, 8), MASKING, np.random.default_rng(0)
    )
    batch = {name: torch.from_numpy(array)[None] for name, array in drawn.items()}
    batch["to_patient"] = torch.eye(3, 4)[None]
    losses = losses_on(batch, network, objective, rate=1e-2, steps=10)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("undersampled", [False, True])
def test_it_is_planned_where_images_of_all_samples_are(undersampled: bool) -> None:
    samples = to_kspace(kspace(), (2,))
    if undersampled:
        samples[..., 1::2] = 0
    scheme, grid = LabelScheme.from_json({}, None), Grid((1, 16, 30), (3.0, 1.0, 1.0))
    facts, sample = case_fingerprint(samples, None, grid, scheme, 0)
    planned = masked_configurations(dataset_fingerprint({"a": facts}, [sample], ()), Budget("cpu", 8.0))
    assert list(planned) == ([] if undersampled else ["3d_mae"])
