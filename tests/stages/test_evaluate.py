"""Which prediction a reference is compared with."""

from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.description import DatasetDescription
from kneeformer.data.geometry import Geometry
from kneeformer.data.images import write_image
from kneeformer.errors import KneeformerError
from kneeformer.evaluation.summary import Summary
from kneeformer.stages.evaluate import evaluate_folders

KNEE = DatasetDescription(
    channel_names={"0": "PD"}, labels={"background": 0, "femur": 1}, file_ending=".nrrd"
)


def put(folder: Path, *names: str) -> Path:
    """Label maps of one cube."""
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1:3, 2:5, 2:5] = 1
    for name in names:
        write_image(folder / name, labels, Geometry((4, 6, 6), (1.0, 1.0, 1.0)))
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


def test_two_predictions_of_one_case(tmp_path: Path) -> None:
    references, predictions = put(tmp_path / "true", "a.nrrd"), put(tmp_path / "found", "a.nrrd", "a.mha")
    with pytest.raises(KneeformerError) as caught:
        compare(references, predictions, tmp_path)
    assert str(caught.value) == (
        f"nothing is compared:\n  {predictions}: a.mha and a.nrrd are two files of one name, a; keep one"
    )
