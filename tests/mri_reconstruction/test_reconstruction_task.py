"""From raw k-space to scored reconstructions: plan, preprocess, train, predict, evaluate."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import zero_filled
from kneeformer.kspace.sampling import draw_mask
from kneeformer.paths import Folders
from kneeformer.phantoms.kspace import write_kspace_dataset
from kneeformer.planning.budget import Limits
from kneeformer.plans import Plan, read_plan
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration
from kneeformer.workflows.evaluate import evaluate_folders
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.preprocess import preprocess_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold

pytestmark = pytest.mark.slow

NAME = "Dataset120_KSpace"
SMALL = (
    "network.depth=1",
    "cascades.channels=8",
    "training.steps_per_epoch=12",
    "training.epochs=1",
    "training.validation_crops=2",
)


def nobody(*_: object) -> None:
    """Watches nothing."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Four phantom knees, planned and prepared."""
    home = tmp_path_factory.mktemp("kspace")
    found = Folders(*(home / name for name in ("raw", "preprocessed", "results")))
    write_kspace_dataset(found.raw / NAME, cases=3, seed=0, test=1, shape=(4, 48, 48))
    plan_dataset(found, NAME, 1, nobody, limits=Limits("cpu"))
    preprocess_dataset(found, plan_of(found), ["3d_vit"], 1, nobody)
    return found


def plan_of(folders: Folders) -> Plan:
    return read_plan(folders.plan_file(NAME))


def reconstructed(folders: Folders, kind: str, output: Path, acceleration: float = 4) -> np.ndarray:
    predictor = Predictor.untrained(plan_of(folders), kind, simulate=acceleration)
    assert predict_folder(predictor, Sources(folders.raw / NAME / "imagesTs"), output, nobody) == []
    return read_image(output / "phantom_100.nii.gz").array


def reference(folders: Folders) -> np.ndarray:
    image = read_image(folders.raw / NAME / "imagesTs" / "phantom_100.h5")
    return zero_filled(image.array, image.grid.shape)


def test_a_plan_has_a_network_its_ablation_and_the_solvers(folders: Folders) -> None:
    configurations = plan_of(folders).configurations
    assert list(configurations) == ["3d_vit", "3d_vit_once", "zero_filled", "tv", "wavelet", "3d_mae"]
    network = configurations["3d_vit"]
    assert isinstance(network, ReconstructionConfiguration) and network.cascades is not None
    assert network.cascades.count == 4 and network.training.crop == (1, 48, 48)
    np.testing.assert_allclose(network.preprocessing.spacing, (4.5, 1.9, 1.9))


def test_all_samples_give_the_files_own_reconstruction(folders: Folders, tmp_path: Path) -> None:
    found, true = reconstructed(folders, "zero_filled", tmp_path, acceleration=1), reference(folders)
    assert np.linalg.norm(found - true) < 1e-4 * np.linalg.norm(true)


def test_compressed_sensing_is_nearer_than_zero_filling_with_the_same_mask(
    folders: Folders, tmp_path: Path
) -> None:
    true = reference(folders)
    errors = {}
    for kind in ("zero_filled", "tv"):
        errors[kind] = np.linalg.norm(reconstructed(folders, kind, tmp_path / kind) - true)
        facts = json.loads((tmp_path / kind / "phantom_100.json").read_text())
        assert facts["data"] == "k-space" and facts["nominal_acceleration"] == 4
        assert facts["true_acceleration"] == pytest.approx(50 / 12, rel=0.1)
    assert errors["tv"] < errors["zero_filled"]


def test_a_network_is_trained_validated_and_applied(folders: Folders, tmp_path: Path) -> None:
    outcome = train_fold(folders, Request(NAME, "3d_vit", 0, settings=SMALL), nobody, nobody)
    assert outcome.summary is not None
    predictor = Predictor.from_model_folder(folders.model(NAME, "3d_vit"), simulate=4)
    raw = folders.raw / NAME
    assert predict_folder(predictor, Sources(raw / "imagesTs"), tmp_path, nobody) == []
    description = Dataset.open(raw).description
    summary = evaluate_folders(raw / "imagesTs", tmp_path, description, tmp_path, 1, nobody)
    assert summary.cases == 1
    assert summary.mean["image"]["acceleration"] == pytest.approx(50 / 12, rel=0.1)


def test_a_solver_chooses_its_weight_on_training_cases(folders: Folders) -> None:
    settings = ("solver.iterations=20", "solver.candidates=[0.0001,0.02]")
    train_fold(folders, Request(NAME, "tv", 0, settings=settings), nobody, nobody)
    predictor = Predictor.from_model_folder(folders.model(NAME, "tv"))
    assert float(predictor.networks[0].get_buffer("weight")) == pytest.approx(0.02)


def test_magnitudes_are_reconstructed_where_they_are_undersampled_and_said_to_be(
    folders: Folders, tmp_path: Path
) -> None:
    image = (100 * reference(folders)).astype(np.int16)
    write_image(tmp_path / "a_0000.nii.gz", image, Grid((4, 48, 48), (4.5, 1.9, 1.9)))
    plain = Predictor.untrained(plan_of(folders), "zero_filled")
    (line,) = predict_folder(plain, Sources(tmp_path), tmp_path / "out", nobody)
    assert "undersample them with --simulate 4" in line
    undersampled = Predictor.untrained(plan_of(folders), "zero_filled", simulate=4)
    assert predict_folder(undersampled, Sources(tmp_path), tmp_path / "out", nobody) == []
    assert json.loads((tmp_path / "out" / "a.json").read_text())["data"] == "simulated from magnitudes"


def test_undersampled_files_are_learnt_from_by_themselves(folders: Folders, tmp_path: Path) -> None:
    home = Folders(*(tmp_path / name for name in ("raw", "preprocessed", "results")))
    shutil.copytree(folders.raw / NAME, home.raw / NAME)
    for number, file in enumerate(sorted((home.raw / NAME).glob("images*/*.h5"))):
        with h5py.File(file, "r+") as raw:
            kspace = raw["kspace"][()]
            mask = draw_mask("random", kspace.any((0, 1, 2)), 4, [number])
            raw["kspace"][...] = kspace * mask
    plan_dataset(home, NAME, 1, nobody, limits=Limits("cpu"))
    network = plan_of(home).configurations["3d_vit"]
    assert isinstance(network, ReconstructionConfiguration) and network.self_supervision is not None
    assert 2.8 <= network.sampling.accelerations[0] <= 4.2
    preprocess_dataset(home, plan_of(home), ["3d_vit"], 1, nobody)
    outcome = train_fold(home, Request(NAME, "3d_vit", 0, settings=SMALL), nobody, nobody)
    assert outcome.summary is None and "hold no truth" in outcome.review
    train_fold(home, Request(NAME, "tv", 0, settings=("solver.iterations=5",)), nobody, nobody)
    predictor = Predictor.from_model_folder(home.model(NAME, "3d_vit"))
    tests = home.raw / NAME / "imagesTs"
    assert predict_folder(predictor, Sources(tests), tmp_path / "out", nobody) == []
    with pytest.raises(KneeformerError, match="it is no truth"):
        description = Dataset.open(home.raw / NAME).description
        evaluate_folders(tests, tmp_path / "out", description, tmp_path / "out", 1, nobody)


def test_what_has_to_be_trained_is_refused_untrained(folders: Folders) -> None:
    with pytest.raises(KneeformerError, match="not trained yet"):
        Predictor.untrained(plan_of(folders), "3d_vit")
