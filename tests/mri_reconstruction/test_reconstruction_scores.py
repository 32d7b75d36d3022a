"""Scores of a reconstruction, and the true acceleration beside them."""

import math
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.description import DatasetDescription
from kneeformer.data.files import write_json
from kneeformer.data.images import write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.tasks.evaluation import PredictedCase
from kneeformer.tasks.mri_reconstruction.evaluation import score_reconstruction
from kneeformer.workflows.evaluate import evaluate_folders

DESCRIPTION = DatasetDescription.model_validate(
    {
        "task": "reconstruction",
        "channel_names": {"0": "kspace"},
        "labels": {},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
)


@pytest.mark.parametrize(
    ("facts", "wanted"), [({"true_acceleration": 3.9}, 3.9), ({}, math.nan), (None, math.nan)]
)
def test_the_true_acceleration_is_that_of_the_json_beside_the_image(
    tmp_path: Path, facts: dict[str, float] | None, wanted: float
) -> None:
    truth = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    grid = Grid(truth.shape, (4.0, 1.0, 1.0))
    for name in ("reference", "a"):
        write_image(tmp_path / f"{name}.nii.gz", truth, grid)
    if facts is not None:
        write_json(tmp_path / "a.json", facts)
    case = PredictedCase("a", tmp_path / "reference.nii.gz", tmp_path / "a.nii.gz", DESCRIPTION)
    (found,) = [row.value for row in score_reconstruction(case) if row.metric.name == "acceleration"]
    assert found == pytest.approx(wanted, nan_ok=True)


def test_the_json_is_found_where_a_disk_has_decomposed_names(tmp_path: Path) -> None:
    name, truth = unicodedata.normalize("NFD", "Müller"), np.random.default_rng(0).random((2, 16, 16))
    write_image(tmp_path / f"{name}.nii.gz", truth.astype(np.float32), Grid(truth.shape, (4.0, 1.0, 1.0)))
    write_json(tmp_path / f"{name}.json", {"data": "simulated from magnitudes"})
    file = tmp_path / f"{name}.nii.gz"
    case = PredictedCase("Müller", file, file, DESCRIPTION)
    assert {row.structure for row in score_reconstruction(case)} == {"image simulated from magnitudes"}


def test_tables_say_what_was_simulated_from_magnitudes(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    write_image(tmp_path / "a.nii.gz", truth, Grid(truth.shape, (4.0, 1.0, 1.0)))
    write_json(tmp_path / "a.json", {"data": "simulated from magnitudes"})
    case = PredictedCase("a", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", DESCRIPTION)
    assert {row.structure for row in score_reconstruction(case)} == {"image simulated from magnitudes"}


def test_references_are_images_of_their_cases(tmp_path: Path) -> None:
    """a_0000 is the one channel of case a, as it lies in imagesTs."""
    truth = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    for file in ("images/a_0000.nii.gz", "found/a.nii.gz"):
        (tmp_path / file).parent.mkdir()
        write_image(tmp_path / file, truth, Grid(truth.shape, (4.0, 1.0, 1.0)))
    images, found = tmp_path / "images", tmp_path / "found"
    summary = evaluate_folders(images, found, DESCRIPTION, found, 1, lambda *_: None)
    assert summary.cases == 1 and summary.mean["image"]["SSIM"] == pytest.approx(1)
    write_image(images / "a.nrrd", 2 * truth, Grid(truth.shape, (4.0, 1.0, 1.0)))
    with pytest.raises(KneeformerError, match=r"a\.nrrd: a_0000\.nii\.gz is of the same case"):
        evaluate_folders(images, found, DESCRIPTION, found, 1, lambda *_: None)


def test_what_no_table_can_hold_is_refused(tmp_path: Path) -> None:
    """A voxel that is no number would leave its case out of all means; two kinds of data make no table."""
    truth = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    images, found = tmp_path / "images", tmp_path / "found"
    for folder in (images, found):
        for name in "ab":
            write_image(folder / f"{name}.nii.gz", truth, Grid(truth.shape, (4.0, 1.0, 1.0)))
    write_json(found / "a.json", {"data": "simulated from magnitudes"})
    with pytest.raises(KneeformerError, match="b has other scores than case a: image, image simulated from"):
        evaluate_folders(images, found, DESCRIPTION, found, 1, lambda *_: None)
    truth[0, 3, 4] = np.nan
    write_image(found / "b.nii.gz", truth, Grid(truth.shape, (4.0, 1.0, 1.0)))
    with pytest.raises(KneeformerError, match=r"found/b\.nii\.gz: 1 of 512 voxels are NaN"):
        evaluate_folders(images, found, DESCRIPTION, found, 1, lambda *_: None)
