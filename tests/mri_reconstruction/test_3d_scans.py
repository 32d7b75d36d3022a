"""3D scans, phase-encoded along two axes: cut across the readout, undersampled by a Poisson disc."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from small_reconstruction import configuration, losses_on

from kneeformer.config import DatasetSettings
from kneeformer.data.description import DatasetDescription
from kneeformer.data.images import write_image
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import to_image, to_kspace, zero_filled
from kneeformer.labels import LabelScheme
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import case_fingerprint, dataset_fingerprint
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.evaluation import PredictedCase
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches
from kneeformer.tasks.mri_reconstruction.evaluation import score_reconstruction
from kneeformer.tasks.mri_reconstruction.planning import reconstruction_configurations
from kneeformer.tasks.mri_reconstruction.prepare import prepare_kspace, prepare_truth
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration
from kneeformer.tasks.mri_reconstruction.task import Reconstruction

SHAPE, TASK = (32, 16, 32), Reconstruction()  # partitions, rows (readout), columns
DATASET = DatasetSettings(name="D", channel_names=("kspace",), labels={}, file_ending=".h5")
NO_LABELS = LabelScheme.from_json({}, None)


def kspace() -> np.ndarray:
    """(coils, 1, partitions, 2 x rows, columns) of a ball in a ball, with the outer partitions unmeasured."""
    z, y, x = (np.linspace(-1, 1, n) for n in (SHAPE[0], 2 * SHAPE[1], SHAPE[2]))
    radius = np.sqrt(z[:, None, None] ** 2 + (2 * y[:, None]) ** 2 + x**2)
    image = (radius < 0.8) + 0.5 * (radius < 0.4)
    coils = np.stack([np.exp(-((x - side) ** 2) + 1j * x) for side in (-0.5, 0.5)])[:, None, None]
    samples = to_kspace((image * coils).astype(np.complex64), (1, 2, 3))
    samples[:, :2], samples[:, -2:] = 0, 0
    return samples[:, None]


def scan() -> Scan:
    return Scan(kspace(), Grid(SHAPE, (2.0, 1.0, 1.5)))


@pytest.fixture(scope="module")
def planned() -> dict[str, ReconstructionConfiguration]:
    facts, sample = case_fingerprint(scan().image, None, scan().grid, NO_LABELS, 0)
    return reconstruction_configurations(dataset_fingerprint({"a": facts}, [sample], ()), Budget("cpu", 8.0))


def test_slices_are_planned_across_the_readout_with_masks_of_two_axes(
    planned: dict[str, ReconstructionConfiguration],
) -> None:
    assert list(planned) == ["3d_vit", "3d_vit_once", "zero_filled", "tv", "wavelet"]
    for settings in planned.values():
        assert settings.preprocessing.phase_encoding_axes == (0, 2)
        assert settings.preprocessing.spacing == (1.0, 2.0, 1.5)  # of rows, partitions and columns
        assert settings.sampling.kind == "poisson_disc"
        assert settings.training.crop == (1, 32, 32)  # one of 16 rows, all partitions and columns


def test_dataset_json_names_the_axes_of_magnitudes() -> None:
    image = np.abs(scan().image[:, 0, :, :16])
    facts, sample = case_fingerprint(image, None, scan().grid, NO_LABELS, 0, phase_encoding_axes=(0, 2))
    found = reconstruction_configurations(dataset_fingerprint({"a": facts}, [sample], ()), Budget("cpu", 8.0))
    assert found["3d_vit"].preprocessing.phase_encoding_axes == (0, 2)


def test_slices_and_3d_scans_are_not_planned_together() -> None:
    found = {
        name: case_fingerprint(image, None, scan().grid, NO_LABELS, 0)
        for name, image in (("a", scan().image), ("b", scan().image[:, 0]))
    }
    pooled = dataset_fingerprint({n: f for n, (f, _) in found.items()}, [s for _, s in found.values()], ())
    with pytest.raises(KneeformerError, match=r"3D scans \(a\) and stacks of slices"):
        reconstruction_configurations(pooled, Budget("cpu", 8.0))


def test_a_poisson_disc_is_reconstructed_nearer_by_total_variation(
    planned: dict[str, ReconstructionConfiguration],
) -> None:
    errors = {}
    for kind in ("zero_filled", "tv"):
        undersampled = TASK.undersampled(scan(), 4, "a.h5", planned[kind])
        assert undersampled.facts["true_acceleration"] == pytest.approx(4, rel=0.02), "padding does not count"
        networks = [TASK.network(DATASET, planned[kind])]
        found = TASK.predict(networks, undersampled, DATASET, planned[kind]).volumes[""]
        truth = zero_filled(scan().image, SHAPE)
        errors[kind] = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    assert errors["tv"] < 0.7 * errors["zero_filled"]


def test_all_samples_give_the_files_own_reconstruction(
    planned: dict[str, ReconstructionConfiguration],
) -> None:
    settings = planned["zero_filled"]
    found = TASK.predict([TASK.network(DATASET, settings)], scan(), DATASET, settings).volumes[""]
    np.testing.assert_allclose(found, zero_filled(scan().image, SHAPE), rtol=1e-4, atol=1e-5)


def test_prepared_slices_lie_across_the_readout(planned: dict[str, ReconstructionConfiguration]) -> None:
    prepared = prepare_kspace(scan(), None, planned["tv"], NO_LABELS)
    assert prepared.image.shape == (2, 16, 32, 32) and prepared.spacing == (1.0, 2.0, 1.5)
    assert (scan().grid.orientation(), prepared.orientation) == ("SPL", "PSL")
    assert prepared.image.any((0, 1, 3)).tolist() == [2 <= z < 30 for z in range(32)]
    images = to_image(prepared.image, (-2, -1)).swapaxes(1, 2)
    whole = to_image(kspace()[:, 0], (1, 2, 3))[:, :, 8:24]
    np.testing.assert_allclose(images, whole, atol=1e-6)


def test_an_undersampled_3d_scan_is_no_truth(
    planned: dict[str, ReconstructionConfiguration], tmp_path: Path
) -> None:
    z, x = np.mgrid[-1:1:32j, -1:1:32j]
    without_corners = scan().image * (z**2 + x**2 <= 1)[:, None]
    prepare_truth(replace(scan(), image=without_corners), None, planned["tv"], NO_LABELS)
    halved = scan().image * (np.arange(32) % 2 == 0)
    with pytest.raises(KneeformerError, match=r"undersampled 1\.9x itself: a network would learn"):
        prepare_truth(replace(scan(), image=halved), None, planned["tv"], NO_LABELS)
    with pytest.raises(KneeformerError, match=r"undersampled 1\.9x itself; omit --simulate"):
        TASK.undersampled(replace(scan(), image=halved), 4, "a.h5", planned["tv"])
    with h5py.File(tmp_path / "a.h5", "w") as file:  # as SKM-TEA has it: an image along the readout
        file["kspace"] = to_image(halved[:, 0], (2,)).transpose(2, 3, 1, 0)[:, :, :, None]
    description = DatasetDescription(
        task="reconstruction", channel_names={"0": "kspace"}, labels={}, file_ending=".h5"
    )
    write_image(tmp_path / "a.nii.gz", np.ones((32, 32, 32), np.float32), Grid((32, 32, 32), (1.0, 1.0, 1.0)))
    case = PredictedCase("a", tmp_path / "a.h5", tmp_path / "a.nii.gz", description)
    with pytest.raises(KneeformerError, match=r"a\.h5: undersampled 1\.9x itself, so it is no truth"):
        list(score_reconstruction(case))


@pytest.fixture(scope="module")
def stored(planned: dict[str, ReconstructionConfiguration], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, settings = tmp_path_factory.mktemp("prepared"), planned["3d_vit"]
    prepared = prepare_kspace(scan(), None, settings, NO_LABELS)
    record = CaseRecord(
        origin=Origin(settings="", files=""),
        shape=(16, 32, 32),
        spacing=settings.preprocessing.spacing,
        orientation=prepared.orientation,
        points={},
    )
    save_case(folder, "a", prepared.image, None, record, settings.training.crop)
    return folder / "a"


def test_a_slab_is_one_row_with_all_partitions_and_columns(
    stored: Path, planned: dict[str, ReconstructionConfiguration]
) -> None:
    batch = SlabBatches([stored], planned["3d_vit"], seed=0, training=True)[0]
    assert batch["samples"].shape == (1, 2, 1, 32, 32) and batch["mask"].shape == (1, 1, 1, 32, 32)
    assert not batch["mask"][0, 0, 0, [0, 1, 30, 31]].any(), "what the file left out"
    within = batch["mask"].sum()
    assert 28 * 32 / 8.2 <= within <= 28 * 32 / 3.9


def test_a_network_of_3d_scans_begins_as_sense_and_learns(
    stored: Path, planned: dict[str, ReconstructionConfiguration]
) -> None:
    torch.manual_seed(0)
    small = configuration(crop=(1, 32, 32))
    update = {"preprocessing": planned["tv"].preprocessing, "sampling": planned["tv"].sampling}
    settings = small.model_copy(update=update)
    network, objective = TASK.network(DATASET, settings), TASK.objective(DATASET, settings)
    undersampled = TASK.undersampled(scan(), 4, "a.h5", settings)
    truth = zero_filled(scan().image, SHAPE)
    found = TASK.predict([network], undersampled, DATASET, settings).volumes[""]
    assert np.linalg.norm(found - truth) < np.linalg.norm(zero_filled(undersampled.image, SHAPE) - truth)
    batches = SlabBatches([stored], settings, seed=0, training=True)
    batch = max((batches[step] for step in range(4)), key=lambda drawn: drawn["target"].sum())
    losses = losses_on(batch, network, objective, rate=1e-3, steps=4)
    assert losses[-1] < losses[0]


def test_a_network_of_slices_refuses_a_3d_scan_and_a_plan_of_3d_scans_refuses_slices(
    planned: dict[str, ReconstructionConfiguration],
) -> None:
    with pytest.raises(KneeformerError, match="a 3D scan, phase-encoded along two axes"):
        TASK.predict([torch.nn.Identity()], scan(), DATASET, configuration())
    flat = Scan(scan().image[:, 0], scan().grid)
    with pytest.raises(KneeformerError, match="a stack of slices"):
        TASK.predict([torch.nn.Identity()], flat, DATASET, planned["tv"])
