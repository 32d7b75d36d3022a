"""dataset.json of nnU-Net v1: refused with the lines that v2 has, which are then accepted."""

import json
from pathlib import Path
from typing import Any

import pytest

from kneeformer.data.dataset import Dataset
from kneeformer.errors import KneeformerError

DECATHLON: dict[str, Any] = {
    "name": "Knee",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "femur", "2": "tibia"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
}


def refused(folder: Path, content: dict[str, Any]) -> str:
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(KneeformerError) as caught:
        Dataset.open(folder)
    return str(caught.value)


def test_the_lines_to_write(tmp_path: Path) -> None:
    assert refused(tmp_path, DECATHLON) == (
        f"{tmp_path}/dataset.json: of nnU-Net v1; write these lines, as nnU-Net v2 does, in place of its "
        "own:\n"
        '  "channel_names": {"0": "MRI"},\n'
        '  "labels": {"background": 0, "femur": 1, "tibia": 2},\n'
        '  "file_ending": ".nii.gz"'
    )


def test_they_are_accepted(tmp_path: Path) -> None:
    lines = refused(tmp_path, DECATHLON).split("\n", 1)[1]
    (tmp_path / "dataset.json").write_text(json.dumps({**DECATHLON, **json.loads(f"{{{lines}}}")}))
    description = Dataset.open(tmp_path).description
    assert (description.channels, description.scheme.names) == (("MRI",), ("femur", "tibia"))


def test_the_ending_is_that_of_the_images(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    for name in ("._a_0000.nii.gz", "README", "a_0000.nrrd"):
        (tmp_path / "imagesTr" / name).touch()
    assert refused(tmp_path, DECATHLON).endswith('\n  "file_ending": ".nrrd"')


def test_only_what_is_old_is_told(tmp_path: Path) -> None:
    new = {
        "channel_names": {"0": "MRI"},
        "file_ending": ".nrrd",
        "labels": {"0": "Background", "3": "f\u00e9mur"},
    }
    assert refused(tmp_path, new).endswith('own:\n  "labels": {"background": 0, "f\u00e9mur": 3}')


def test_two_numbers_of_one_name_are_told_as_they_are(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "bone", "2": "bone"}
    text = refused(tmp_path, {"channel_names": {"0": "MRI"}, "file_ending": ".nrrd", "labels": labels})
    assert "labels: 0: 'background' is neither a whole number nor a list of such" in text
