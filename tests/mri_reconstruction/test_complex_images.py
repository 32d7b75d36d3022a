"""What is written of a reconstruction beside its magnitudes: the complex image, and a line in headers."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from small_reconstruction import configuration

from kneeformer.config import DatasetSettings
from kneeformer.data.dataset import Case
from kneeformer.data.images import read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.plans import Plan
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration, SolverSettings
from kneeformer.workflows.predict import Predictor

SHAPE = (2, 24, 32)


def solver() -> ReconstructionConfiguration:
    update = {"network": None, "cascades": None, "solver": SolverSettings(kind="zero_filled")}
    return configuration().model_copy(update=update)


def predictor(ending: str, task: str = "reconstruction") -> Predictor:
    dataset = DatasetSettings(name="D", channel_names=("PD",), labels={}, file_ending=ending)
    chosen = solver().model_copy(update={"task": task})
    plan = Plan(plans_name="kfPlans", dataset=dataset, configurations={"zero_filled": solver()})
    return replace(Predictor.untrained(plan, "zero_filled", "cpu", simulate=1), configuration=chosen)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_all_samples_give_real_and_imaginary_part_and_the_header_says_what_is_simulated(
    tmp_path: Path, ending: str
) -> None:
    """Magnitudes have no phase, and one coil whose sensitivity is the phase of its smooth image: 1."""
    image = 1 + np.random.default_rng(0).random(SHAPE).astype(np.float32)
    file = tmp_path / f"a_0000{ending}"
    write_image(file, image, Grid(SHAPE, (3.0, 1.0, 1.0)))
    predictor(ending).writing_complex().predict_case(Case("a", (file,)), tmp_path / "out")
    real, imaginary, magnitude = (
        read_image(tmp_path / "out" / f"a{part}{ending}") for part in ("_real", "_imag", "")
    )
    np.testing.assert_allclose(real.array, image, rtol=1e-4)
    np.testing.assert_allclose(imaginary.array, 0, atol=1e-4)
    np.testing.assert_allclose(magnitude.array, image, rtol=1e-4)
    assert magnitude.grid == read_image(file).grid
    written = tmp_path / "out" / f"a{ending}"
    if ending == ".nii.gz":
        assert nibabel.load(written).header["descrip"].item() == b"simulated from magnitudes"
    else:
        assert b"simulated from magnitudes\n" in written.read_bytes()[:1000]


def test_files_that_only_an_earlier_prediction_had_are_removed(tmp_path: Path) -> None:
    """Of the case alone: those of others, and what is no output of the task, stay."""
    file, output = tmp_path / "a_0000.nrrd", tmp_path / "out"
    write_image(file, np.ones(SHAPE, np.float32), Grid(SHAPE, (3.0, 1.0, 1.0)))
    for case in (Case("a", (file,)), Case("a_b", (file,))):
        predictor(".nrrd").writing_complex().predict_case(case, output)
    (output / "a_notes.txt").touch()
    before = {path.name for path in output.iterdir()}
    predictor(".nrrd").predict_case(Case("a", (file,)), output)
    assert before - {path.name for path in output.iterdir()} == {"a_real.nrrd", "a_imag.nrrd"}


def test_only_reconstructions_have_complex_images() -> None:
    with pytest.raises(KneeformerError, match="does not reconstruct; omit --save_complex"):
        predictor(".nrrd", "segmentation").writing_complex()
