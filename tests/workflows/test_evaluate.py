"""Which prediction a reference is compared with."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.dataset import Case
from kneeformer.data.description import DatasetDescription
from kneeformer.data.images import write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import turn
from kneeformer.metrics.summary import Summary
from kneeformer.workflows.evaluate import evaluate_cases, evaluate_folders

pytestmark = pytest.mark.slow

KNEE = DatasetDescription(
    channel_names={"0": "PD"}, labels={"background": 0, "femur": 1}, file_ending=".nrrd"
)


def put(folder: Path, *names: str) -> Path:
    """Label maps of one cube."""
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1:3, 2:5, 2:5] = 1
    for name in names:
        write_image(folder / name, labels, Grid((4, 6, 6), (1.0, 1.0, 1.0)))
    return folder


def compare(references: Path, predictions: Path, output: Path) -> Summary:
    return evaluate_folders(references, predictions, KNEE, output, 1, lambda *_: None)


def test_formats_and_spellings_may_differ(tmp_path: Path) -> None:
    references = put(tmp_path / "true", "a.nii.gz", "M\u00fcller.nrrd")
    predictions = put(tmp_path / "found", "a.nrrd", "Mu\u0308ller.seg.nrrd", "surplus.nrrd", "surplus.mha")
    (references / "._a.nrrd").touch()
    summary = compare(references, predictions, tmp_path)
    assert [c.case for c in summary.metric_per_case] == ["M\u00fcller", "a"]
    assert summary.foreground_mean["Dice"] == 1


def test_predictions_may_be_stored_otherwise_than_their_references(tmp_path: Path) -> None:
    """Turned with its grid, a label map is the same; by its values alone it is another."""
    grid = Grid((4, 6, 6), (1.0, 1.0, 1.0))
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:3, 2:5, 1:5] = 1
    write_image(tmp_path / "true" / "a.nrrd", labels, grid)
    turned = turn(labels, grid.orientation(), "RSA")
    write_image(tmp_path / "found" / "a.nrrd", turned, grid.turned("RSA"))
    assert compare(tmp_path / "true", tmp_path / "found", tmp_path).foreground_mean["Dice"] == 1
    write_image(tmp_path / "found" / "a.nrrd", turned, replace(grid.turned("RSA"), origin=(0, 0, 0)))
    with pytest.raises(KneeformerError, match="another grid"):
        compare(tmp_path / "true", tmp_path / "found", tmp_path)


def test_two_predictions_of_one_case(tmp_path: Path) -> None:
    references, predictions = put(tmp_path / "true", "a.nrrd"), put(tmp_path / "found", "a.nrrd", "a.mha")
    with pytest.raises(KneeformerError) as caught:
        compare(references, predictions, tmp_path)
    assert str(caught.value) == (
        f"nothing is compared:\n  {predictions}: a.mha and a.nrrd are two files of one name, a; move "
        "one elsewhere"
    )


def values(folder: Path, array: np.ndarray) -> Path:
    write_image(folder / "a.nrrd", array, Grid((4, 6, 6), (1.0, 1.0, 1.0)))
    return folder


CUBE = np.zeros((4, 6, 6), np.uint8)
CUBE[1:3, 2:5, 2:5] = 1


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (
            CUBE * 255,
            "label values 255 are not declared in dataset.json, which has 0, 1; declare them, or give",
        ),
        (CUBE * 20, "label values 20 are not declared"),
        (CUBE * np.float32(0.7), "18 label voxels are not whole numbers (probabilities, or resampled"),
        (CUBE * np.float32("nan"), "144 of 144 voxels are NaN"),
    ],
)
@pytest.mark.parametrize("wrong", ["true", "found"])
def test_label_maps_that_mean_something_else(
    tmp_path: Path, array: np.ndarray, words: str, wrong: str
) -> None:
    folders = {name: values(tmp_path / name, array if name == wrong else CUBE) for name in ("true", "found")}
    with pytest.raises(KneeformerError, match=re.escape(f"{folders[wrong]}/a.nrrd: {words}")):
        compare(folders["true"], folders["found"], tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_floats_that_are_whole_and_predictions_of_nothing_are_compared(tmp_path: Path) -> None:
    whole = values(tmp_path / "true", CUBE.astype(np.float64))
    assert compare(whole, values(tmp_path / "found", CUBE), tmp_path).foreground_mean["Dice"] == 1
    assert compare(whole, values(tmp_path / "none", CUBE * 0), tmp_path).foreground_mean["Dice"] == 0


def test_predictions_without_a_reference_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictions = put(tmp_path / "found", "a.nrrd", "b.nrrd", "c.nrrd")
    compare(put(tmp_path / "true", "a.nrrd"), predictions, tmp_path)
    assert caplog.messages == [f"{predictions}: no reference for b.nrrd, c.nrrd; not compared"]


BONES = DatasetDescription(
    channel_names={"0": "CT"},
    labels={"background": 0, "shell": 2, "core": 3, "ignore": 4},
    file_ending=".nrrd",
    task="completion",
)


def test_a_completion_is_scored_as_one_bone_of_whatever_values(tmp_path: Path) -> None:
    """Of parts 2 and 3 and an ignored corner, the prediction has all but one voxel; the mask hides a half."""
    true, found, mask = CUBE * 2, CUBE.copy(), np.ones_like(CUBE)
    true[1, 3, 3], true[0], found[2, 4, 4], found[0], mask[:, 3:] = 3, 4, 0, 1, 2
    label, scan = (values(tmp_path / name, array) / "a.nrrd" for name, array in (("t", true), ("scan", CUBE)))
    predictions = values(tmp_path / "found", found)
    masks = values(tmp_path / "masks", mask)
    shutil.copy(scan, predictions / "a_ct.nrrd")
    cases = [Case("a", (scan,), label, mask=masks / "a.nrrd")]
    summary = evaluate_cases(cases, "completion", predictions, BONES, 1, lambda *_: None)
    metrics = summary.metric_per_case[0].metrics["shell and core"]
    assert (metrics["TP"], metrics["FP"], metrics["FN"]) == (11, 0, 1)
    assert summary.parts["shell and core"].region == "hidden"
    assert set(summary.parts) == {"shell and core", "shell and core, composite"}
    mask[:, 5] = 3  # a displaced fragment, which is a part of the region
    values(masks, mask)
    with_fragment = evaluate_cases(cases, "completion", predictions, BONES, 1, lambda *_: None)
    assert with_fragment.metric_per_case[0].metrics["shell and core"] == metrics
    values(masks, mask * 0)
    other = evaluate_cases(cases, "completion", predictions, BONES, 1, lambda *_: None)
    assert other.table.masks != summary.table.masks and set(other.table.masks) == {"a"}


def test_completions_without_masks_are_compared_as_whole_bones(tmp_path: Path) -> None:
    references = values(tmp_path / "true", CUBE * 2)
    for name, array in (("completed", CUBE), ("segmented", CUBE * 2)):
        predictions = values(tmp_path / name, array)
        summary = evaluate_folders(references, predictions, BONES, predictions, 1, lambda *_: None)
        assert summary.mean["shell and core"]["Dice"] == 1
    with pytest.raises(KneeformerError, match="label values 7 are not declared"):
        wrong = values(tmp_path / "wrong", CUBE * 7)
        evaluate_folders(references, wrong, BONES, wrong, 1, lambda *_: None)
