"""Which files of a folder are taken as images, told by names alone."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.check import check_layout
from kneeformer.data.dataset import Dataset, case_folder
from kneeformer.data.description import DatasetDescription
from kneeformer.data.image_folder import existing, first_ending, image_folder, lines_of, printable
from kneeformer.data.images import read_image, write_image
from kneeformer.geometry.grid import Grid

COMPOSED, DECOMPOSED = "M\u00fcller", "Mu\u0308ller"  # they look the same
KNEE = DatasetDescription(
    channel_names={"0": "PD"}, labels={"background": 0, "femur": 1}, file_ending=".nrrd"
)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files in a folder."""

    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_every_known_ending_in_any_case(put: Callable[..., Path]) -> None:
    folder = put("a.nrrd", "b.NII.GZ", "c.nii", "d.mha", "e.mhd", "f.seg.nrrd", "g.Seg.NRRD", "h.nhdr")
    put("README.txt", "f.raw", "i.dcm")
    found = image_folder(folder)
    assert list(found.files) == list("abcdefgh") and found.duplicates == {}
    (line,) = lines_of(found.ignored)
    assert line.startswith(f"{folder}/i.dcm: .dcm is not read")


def test_the_first_ending_of_a_folder(put: Callable[..., Path], tmp_path: Path) -> None:
    assert first_ending(put("._a.nrrd", "b.MHA", "b.raw", "c.nrrd")) == ".mha"
    assert first_ending(tmp_path / "not there") == ".nii.gz"


def test_hidden_files_and_folders_disturb_nobody(put: Callable[..., Path]) -> None:
    folder = put("._a.nrrd", ".b.nrrd", ".DS_Store")
    (folder / "c").mkdir()
    (folder / "d.dcm").mkdir()
    assert not image_folder(folder).files and not image_folder(folder).ignored
    assert not image_folder(folder / "not there").files


def test_folders_and_unfinished_copies_that_are_called_as_images_are_told(put: Callable[..., Path]) -> None:
    """Unpacked on some systems, a.nii.gz becomes a.nii/a.nii."""
    folder = put("b.nii.gz.part", "c.txt.part", "d.nrrd.gz")
    (folder / "a.nii").mkdir()
    found = image_folder(folder)
    assert not found.files
    assert [line.removeprefix(f"{folder}/")[:28] for line in lines_of(found.ignored)] == [
        "a.nii: a folder; put the ima",
        "b.nii.gz.part: .part: a copy",
        "d.nrrd.gz: .nrrd.gz is not r",
    ]


def test_two_files_of_one_name_are_told(put: Callable[..., Path]) -> None:
    folder = put("a.nrrd", "a.nii.gz", f"{COMPOSED}.nrrd", f"{DECOMPOSED}.nrrd", "b.nrrd", "b.NRRD")
    found = image_folder(folder)
    assert list(found.files) == [COMPOSED, "a", "b"]
    assert [line.split(" are two files of one name, ")[0] for line in found.duplicates.values()] == [
        f"{folder}: {DECOMPOSED}.nrrd and {COMPOSED}.nrrd",
        f"{folder}: a.nii.gz and a.nrrd",
        f"{folder}: b.NRRD and b.nrrd",
    ]


def test_names_that_cannot_be_used_are_told(put: Callable[..., Path]) -> None:
    folder = put("a\nb.nrrd", os.fsdecode(b"c\xff.nrrd"), "d\n.txt")
    found = image_folder(folder)
    assert found.files == {}
    wrong = "its name holds control characters or is not UTF-8; rename it"
    assert lines_of(found.ignored) == [rf"{folder}/a\nb.nrrd: {wrong}", rf"{folder}/c\udcff.nrrd: {wrong}"]
    put("e.Nii.gz")
    assert lines_of(image_folder(folder).ignored)[-1].startswith(
        f"{folder}/e.Nii.gz: its ending mixes small and"
    )
    assert printable(Path("Kn\u00e4ul \u819d.nrrd")) == "Kn\u00e4ul \u819d.nrrd"


def test_names_composed_otherwise_are_one_case(put: Callable[..., Path]) -> None:
    folder = put(f"{DECOMPOSED}_0000.nrrd")
    (case,) = case_folder(folder, KNEE).cases
    assert case.name == COMPOSED and case.images == (folder / f"{DECOMPOSED}_0000.nrrd",)
    listed: dict[Path, dict[str, Path]] = {}
    assert existing(folder / f"{COMPOSED}_0000.nrrd", listed) == folder / f"{DECOMPOSED}_0000.nrrd"
    for file in folder.iterdir():
        file.unlink()
    assert existing(folder / "gone.nrrd", listed) == folder / "gone.nrrd"
    found = existing(folder / f"{COMPOSED}_0000.nrrd", listed)
    assert found == folder / f"{DECOMPOSED}_0000.nrrd"  # listed once
    of_persons = DatasetDescription(**KNEE.model_dump() | {"subjects": {DECOMPOSED: "anna"}})
    assert of_persons.subject(COMPOSED) == "anna"


def test_images_that_belong_to_no_case(put: Callable[..., Path]) -> None:
    folder = put("a_0000.nrrd", "a_0001.nrrd", "b.nrrd", "c_0000.nii.gz", "d_\u0660\u0660\u0660\u0660.nrrd")
    found = case_folder(folder, KNEE)
    assert [(case.name, case.images) for case in found.cases] == [
        ("a", (folder / "a_0000.nrrd",)),
        ("c", (folder / "c_0000.nii.gz",)),
    ]
    assert [line.removeprefix(f"{folder}/").split(" (")[0] for line in lines_of(found.ignored)] == [
        "a_0001.nrrd: extra channel 0001: dataset.json names 1",
        "b.nrrd: not called CASE_0000.nrrd",
        "d_\u0660\u0660\u0660\u0660.nrrd: not called CASE_0000.nrrd",
    ]


def test_scans_of_one_channel_need_no_number_where_none_has_one(put: Callable[..., Path]) -> None:
    folder = put("a.nrrd", "b_0012.nii.gz")  # four digits that are no channel's number
    found = case_folder(folder, KNEE)
    names = {case.name: case.images[0].name for case in found.cases}
    assert names == {"a": "a.nrrd", "b_0012": "b_0012.nii.gz"}
    assert not found.ignored and not found.duplicates
    two = DatasetDescription(**KNEE.model_dump() | {"channel_names": {"0": "PD", "1": "T2"}})
    assert len(case_folder(folder, two).ignored) == 2
    put("a.mha")
    (line,) = case_folder(folder, KNEE).duplicates
    assert line == f"{folder}: a.mha and a.nrrd are two files of one name, a; move one elsewhere"
    put("c_0000.nrrd")
    assert [case.name for case in case_folder(folder, KNEE).cases] == ["b", "c"]  # 0012 is a number now


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha", ".mhd"])
def test_the_case_of_an_ending_does_not_matter(make_dataset: Callable[..., Dataset], ending: str) -> None:
    dataset = make_dataset(ending=ending)
    label, image = dataset.folder / f"labelsTr/a{ending}", dataset.folder / f"imagesTr/a_0000{ending}"
    label.rename(label.with_name(f"a{ending.upper()}"))
    mixed = ending.upper() if ending.startswith(".nii") else ending.title()
    image.rename(image.with_name(f"a_0000{mixed}"))
    assert check_layout(dataset) == []
    a, b = dataset.training_cases()
    for one, other in zip(a.files, b.files, strict=True):
        assert np.array_equal(read_image(one).array, read_image(other).array)


def test_two_files_of_one_case_are_a_problem_of_the_dataset(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset()
    image, grid = np.arange(8, dtype=np.int16).reshape(2, 2, 2), Grid((2, 2, 2), (1.0, 1.0, 1.0))
    write_image(dataset.folder / "labelsTr/x.nrrd", image, grid)
    (dataset.folder / "labelsTr/x.nrrd").rename(dataset.folder / "labelsTr/a.NRRD")
    assert check_layout(dataset) == [
        f"{dataset.folder}/labelsTr: a.NRRD and a.nrrd are two files of one name, a; move one elsewhere"
    ]
