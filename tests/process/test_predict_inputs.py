"""kf_predict with what people give it: bad files, one file; and the answers it gives beside label maps."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from workplace import SPACING_MM, Workplace, same_place

from kneeformer.data.images import read_image, write_image
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.plans import read_plan
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predicted_by import PREDICTED_BY


def scheme(place: Workplace) -> LabelScheme:
    return read_plan(place.preprocessed / "kfPlans.json").dataset.scheme


def probabilities(file: Path) -> np.ndarray:
    with np.load(file) as archive:
        return archive["probabilities"].astype(np.float32)


def test_bad_inputs_do_not_stop_the_good_ones(two_channels: Workplace, tmp_path: Path) -> None:
    given, source, output = tmp_path / "in", two_channels.raw / "imagesTs", tmp_path / "out"
    given.mkdir()
    for case in ("cut", "empty", "good0", "lone", "moved", "zgood1"):
        for channel in ("0000", "0001"):
            shutil.copy(source / f"test1_{channel}.nii.gz", given / f"{case}_{channel}.nii.gz")
    whole = gzip.decompress((given / "cut_0000.nii.gz").read_bytes())
    (given / "cut_0000.nii.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    (given / "empty_0001.nii.gz").write_bytes(b"")
    (given / "lone_0001.nii.gz").unlink()
    image = read_image(given / "moved_0001.nii.gz")
    elsewhere = Grid(image.grid.shape, image.grid.spacing, (900.0, 0.0, 0.0))
    write_image(given / "moved_0001.nii.gz", image.array, elsewhere)

    said = two_channels.run("kf_predict", "-i", given, "-o", output, "-d", 1, code=1)
    assert sorted(p.name for p in output.iterdir()) == [
        *("good0.nii.gz", "good0.png", PREDICTED_BY, "warnings.log", "zgood1.nii.gz", "zgood1.png"),
    ]
    faults = said[said.index("error: 4 problems") :].splitlines()[1:]
    for file, word in (
        ("cut_0000", "cut short"),
        ("empty_0001", "0 bytes"),
        ("lone_0001", "no such file"),
        ("moved_0001", "grid differs"),
    ):
        (line,) = [f for f in faults if file in f.split(":")[0]]
        assert word in line


def test_voxels_that_are_no_numbers_are_told(trained: Workplace, tmp_path: Path) -> None:
    image = read_image(trained.raw / "imagesTs" / "phantom_07_0000.nrrd")
    voxels = image.array.astype(np.float32)
    write_image(tmp_path / "in" / "good_0000.nrrd", voxels, image.grid)
    voxels[2, 3, 4] = np.nan
    write_image(tmp_path / "in" / "bad_0000.nrrd", voxels, image.grid)
    said = trained.run("kf_predict", "-i", tmp_path / "in", "-o", tmp_path / "out", "-d", 1, code=1)
    assert "bad_0000.nrrd: 1 of 6144 voxels are NaN, infinite or over 3e38" in said
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {"good.nrrd", "good.png", PREDICTED_BY, "warnings.log"}


def test_one_file_in(trained: Workplace, tmp_path: Path) -> None:
    images = trained.raw / "imagesTs"
    trained.run("kf_predict", "-i", images / "phantom_07_0000.nrrd", "-o", tmp_path / "one", "-d", 1)
    trained.run("kf_predict", "-i", images, "-o", tmp_path / "all", "-d", "Dataset001_Knee")
    assert {p.name for p in (tmp_path / "one").iterdir()} == {
        *("phantom_07.nrrd", "phantom_07.png", PREDICTED_BY, "preview.png")
    }
    one, same = (read_image(tmp_path / folder / "phantom_07.nrrd") for folder in ("one", "all"))
    assert one.grid == same.grid
    assert np.array_equal(one.array, same.array)


def test_probabilities_belong_to_the_labels(trained: Workplace, tmp_path: Path) -> None:
    file = trained.raw / "imagesTs" / "phantom_07_0000.nrrd"
    trained.run("kf_predict", "-i", file, "-o", tmp_path, "-d", 1, "--save_probabilities")
    labels = read_image(tmp_path / "phantom_07.nrrd").array
    shares = probabilities(tmp_path / "phantom_07_probabilities.npz")
    assert shares.shape == (scheme(trained).outputs, *labels.shape)
    assert np.abs(shares.sum(0) - 1).max() < 0.005
    best = np.array((0, *scheme(trained).painted))[shares.argmax(0)]
    second, first = np.sort(shares, 0)[-2:]
    assert (best == labels)[first - second > 1e-3].all()


def test_probabilities_of_regions_belong_to_the_labels(two_channels: Workplace, tmp_path: Path) -> None:
    source = two_channels.raw / "imagesTs"
    two_channels.run("kf_predict", "-i", source, "-o", tmp_path, "-d", 1, "--save_probabilities")
    labels = read_image(tmp_path / "test0.nii.gz").array
    shares = probabilities(tmp_path / "test0_probabilities.npz")
    painted = np.zeros_like(labels)
    for value, share in zip(scheme(two_channels).painted, shares, strict=True):
        painted[share > 0.5] = value
    assert (painted == labels)[(np.abs(shares - 0.5) > 1e-3).all(0)].all()


def test_empty_borders_are_background(trained: Workplace, tmp_path: Path) -> None:
    """What the crop to voxels that are not zero cuts off comes back as background, for certain."""
    image = read_image(trained.raw / "imagesTs" / "phantom_07_0000.nrrd")
    voxels = image.array.copy()
    voxels[:, :5] = 0
    voxels[:, :, -6:] = 0
    write_image(tmp_path / "in" / "bordered_0000.nrrd", voxels, image.grid)
    trained.run("kf_predict", "-i", tmp_path / "in", "-o", tmp_path, "-d", 1, "-f", 0, "--save_probabilities")
    labels = read_image(tmp_path / "bordered.nrrd")
    shares = probabilities(tmp_path / "bordered_probabilities.npz")
    assert same_place(labels.grid, image.grid)
    assert not labels.array[:, :5].any()
    assert not labels.array[:, :, -6:].any()
    assert np.abs(shares.sum(0) - 1).max() < 0.005
    assert (shares[0, :, :5] == 1).all()


def test_python_predicts_what_the_command_predicts(trained: Workplace, tmp_path: Path) -> None:
    file = trained.raw / "imagesTs" / "phantom_08_0000.nrrd"
    trained.run("kf_predict", "-i", file, "-o", tmp_path, "-d", 1, "-f", 1)
    torch.set_num_threads(1)
    predictor = Predictor.from_model_folder(trained.model, (1,))
    labels = predictor.predict(read_image(file).array, SPACING_MM)
    assert np.array_equal(labels, read_image(tmp_path / "phantom_08.nrrd").array)


def test_folds_are_averaged(trained: Workplace, tmp_path: Path) -> None:
    file = trained.raw / "imagesTs" / "phantom_09_0000.nrrd"

    def shares(*folds: int) -> np.ndarray:
        output = tmp_path / "-".join(map(str, folds))
        flags = ("-f", *folds) if folds else ()
        trained.run("kf_predict", "-i", file, "-o", output, "-d", 1, "--save_probabilities", *flags)
        return probabilities(output / "phantom_09_probabilities.npz")

    first, second, both = shares(0), shares(1), shares()
    assert not np.array_equal(first, both)
    mean = np.sqrt(np.maximum(first, 1e-7) * np.maximum(second, 1e-7))  # of logits
    assert np.abs(mean / mean.sum(0) - both).max() < 0.01
    said = trained.run("kf_predict", "-i", file, "-o", tmp_path, "-d", 1, "-f", 0, 4, code=1)
    assert "fold_4" in said
    assert "fold_0, fold_1" in said


def test_scans_of_other_formats_are_predicted_and_the_rest_is_told(
    trained: Workplace, tmp_path: Path
) -> None:
    given, scan = tmp_path / "in", trained.raw / "imagesTs" / "phantom_07_0000.nrrd"
    image = read_image(scan)
    write_image(given / "a_0000.nii.gz", image.array, image.grid)
    shutil.copy(scan, given / "b_0000.NRRD")
    shutil.copy(scan, given / "._b_0000.nrrd")
    shutil.copy(scan, given / "c.nrrd")
    shutil.copy(scan, given / os.fsdecode(b"d\xff_0000.nrrd"))
    said = trained.run("kf_predict", "-i", given, "-o", tmp_path / "out", "-d", 1, "-f", 0)
    assert "2 files are ignored" in said
    assert "c.nrrd: not called CASE_0000.nrrd" in said and r"d\udcff_0000.nrrd: its name" in said
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("a.nrrd", "a.png", "b.nrrd", "b.png", PREDICTED_BY, "preview.png")
    }
    a, b = (read_image(tmp_path / "out" / f"{case}.nrrd").array for case in "ab")
    assert np.array_equal(a, b)


def test_nothing_is_written_over_what_is_given(trained: Workplace, tmp_path: Path) -> None:
    images = trained.raw / "imagesTr"
    before = {p: p.stat().st_mtime_ns for p in trained.raw.rglob("*")}
    said = trained.run("kf_predict", "-i", images, "-o", trained.raw / "labelsTr", "-d", 1, code=1)
    assert "lies in kf_raw" in said
    labels = trained.raw / "labelsTr"
    said = trained.run("kf_evaluate", labels, labels, "-d", 1, code=1)
    assert "lies in kf_raw" in said
    assert {p: p.stat().st_mtime_ns for p in trained.raw.rglob("*")} == before
