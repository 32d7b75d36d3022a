"""Trees of DICOM series as datasets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_series import OBLIQUE, save, scan, slices

from kneeformer.data.dataset import Dataset
from kneeformer.data.dicom_segmentation import write_dicom_segmentation
from kneeformer.data.images import read_image
from kneeformer.data.segmentation_file import read_segments
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme
from kneeformer.workflows.import_cases import Imported
from kneeformer.workflows.import_dicom import import_dicom

SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})


def labels() -> np.ndarray:
    array = np.zeros(OBLIQUE.shape, np.uint8)
    array[1:3, 2:5, 3:9], array[2:4, 5:7, 3:8] = 1, 2
    return array


def imported(
    source: Path, target: Path, wanted: list[str] | None = None, channels: tuple[str, ...] = ()
) -> Imported:
    return import_dicom(source, target, channels, wanted, lambda *_: None)


def test_series_and_their_segmentations_make_a_dataset(tmp_path: Path) -> None:
    source, target = tmp_path / "archive", tmp_path / "raw" / "Dataset008_Knee"
    first = save(source / "1", slices(scan(1), SeriesNumber=1, PatientID="A 7", Laterality="L"))
    save(source / "1", slices(scan(2), SeriesNumber=2, PatientID="A 7"), list("abcde"))
    save(source / "scout", slices(scan(3), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    write_dicom_segmentation(source / "seg" / "one.dcm", labels(), first, SCHEME, "m", "1")
    write_dicom_segmentation(source / "seg" / "two.dcm", labels(), first, SCHEME, "m", "1")
    done = imported(source, target)
    assert (done.labelled, done.unlabelled) == (1, 1)
    assert [(s.name, s.value) for s in done.structures] == [("femur", 1), ("tibia", 2)]
    assert [line.split(": ")[1] for line in done.notes] == [
        "a localiser; not used",
        f"its series has the segmentation {source / 'seg' / 'one.dcm'} already; keep one",
    ]
    image, label = (read_image(target / f) for f in ("imagesTr/A_7_s1_0000.nrrd", "labelsTr/A_7_s1.nrrd"))
    np.testing.assert_array_equal(image.array, scan(1))
    np.testing.assert_array_equal(label.array, labels())
    assert image.grid.mismatch(OBLIQUE) is None and label.grid.mismatch(OBLIQUE) is None
    assert [s.name for s in read_segments(target / "labelsTr" / "A_7_s1.nrrd")] == ["femur", "tibia"]
    description = Dataset.open(target).description
    assert description.channels == ("MRI",) and description.labels == {
        "background": 0,
        "femur": 1,
        "tibia": 2,
    }
    assert description.subjects == {"A_7_s1": "A_7", "A_7_s2": "A_7"} and description.sides == {
        "A_7_s1": "left"
    }
    table = (target / "dicom_series.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table] == ["case", "A_7_s1", "A_7_s2"]


def test_series_of_a_study_are_the_channels_of_a_case(tmp_path: Path) -> None:
    source, target = tmp_path / "archive", tmp_path / "Dataset008_Knee"
    study = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    first = save(source / "1", slices(scan(1), SeriesNumber=1, SeriesDescription="PD_fs", **study))
    save(source / "2", slices(scan(2), SeriesNumber=2, SeriesDescription="T2 map", **study))
    save(source / "3", slices(scan(3), SeriesNumber=3, SeriesDescription="T1", **study))
    write_dicom_segmentation(source / "seg.dcm", labels(), first, SCHEME, "m", "1")
    done = imported(source, target, channels=("T2 map", "PD fs"))
    assert (done.labelled, done.cases) == (1, ["K01_s2"])
    assert ["'T1', which is no channel" in line for line in done.notes] == [True]
    for channel, number in ((0, 2), (1, 1)):
        image = read_image(target / "imagesTr" / f"K01_s2_000{channel}.nrrd")
        np.testing.assert_array_equal(image.array, scan(number))
    np.testing.assert_array_equal(read_image(target / "labelsTr" / "K01_s2.nrrd").array, labels())
    dataset = Dataset.open(target)
    assert dataset.description.channels == ("T2 map", "PD fs")
    assert [len(case.images) for case in dataset.training_cases()] == [2]
    table = (target / "dicom_series.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[:4] for row in table[1:]] == [
        ["K01_s2", "0", "MR", "2"],
        ["K01_s2", "1", "MR", "1"],
    ]


def test_channels_on_different_grids_are_no_case(tmp_path: Path) -> None:
    study = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    moved = replace(OBLIQUE, origin=(0.0, 0.0, 0.0))
    for number, grid in ((1, OBLIQUE), (2, moved)):
        described = {"SeriesDescription": str(number), "SeriesNumber": number, **study}
        save(tmp_path / "archive" / str(number), slices(scan(), grid, **described))
    with pytest.raises(KneeformerError, match="another grid than"):
        imported(tmp_path / "archive", tmp_path / "Dataset008_Knee", channels=("1", "2"))
    assert not (tmp_path / "Dataset008_Knee").exists()


def test_nothing_of_the_patient_but_the_id_is_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "archive", tmp_path / "Dataset008_Knee"
    save(source, slices(scan(), SeriesDescription="PD Doe", InstitutionName="Clinic", PatientID="K1"))
    imported(source, target)
    for file in (p for p in target.rglob("*") if p.is_file()):
        for private in (b"Doe", b"Jane", b"Doctor", b"Clinic", b"19700101", b"20240102"):
            assert private not in file.read_bytes()


def test_series_without_labels_are_a_dataset_without_labels(tmp_path: Path) -> None:
    save(tmp_path / "archive", slices(scan(), Modality="CT"))
    done = imported(tmp_path / "archive", tmp_path / "Dataset008_Knee")
    assert (done.labelled, done.unlabelled, done.structures) == (0, 1, [])
    dataset = Dataset.open(tmp_path / "Dataset008_Knee")
    assert dataset.description.labels == {} and dataset.description.channels == ("CT",)
    assert [case.name for case in dataset.unlabelled_cases()] == ["K01_s4"]


def test_a_series_that_makes_no_volume_is_told_and_the_others_are_imported(tmp_path: Path) -> None:
    source = tmp_path / "archive"
    data = slices(scan(1), SeriesNumber=1)
    save(source / "1", [*data[:2], *data[3:]])
    save(source / "2", slices(scan(2), SeriesNumber=2))
    done = imported(source, tmp_path / "Dataset008_Knee")
    assert done.unlabelled == 1 and "slices are missing" in done.notes[0]
    assert done.cases == ["K01_s2"]
    assert list(Dataset.open(tmp_path / "Dataset008_Knee").description.subjects) == ["K01_s2"]
    table = (tmp_path / "Dataset008_Knee" / "dicom_series.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table] == ["case", "K01_s2"]


def test_what_cannot_be_a_dataset_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    target = tmp_path / "raw" / "Dataset008_Knee"
    with pytest.raises(KneeformerError, match="no DICOM series"):
        imported(tmp_path / "archive", target)
    save(tmp_path / "archive" / "1", slices(scan(), Modality="CT"))
    with pytest.raises(KneeformerError, match="channels PD, pd: two have one name"):
        imported(tmp_path / "archive", target, channels=("PD", "pd"))
    with pytest.raises(KneeformerError, match="no segment is called femur"):
        imported(tmp_path / "archive", target, ["femur"])
    save(tmp_path / "archive" / "2", slices(scan()))
    with pytest.raises(KneeformerError, match="series of CT and MR"):
        imported(tmp_path / "archive", target)
    assert not target.exists() and not list((tmp_path / "raw").iterdir())
    assert (
        "series of CT and MR are all taken as PD"
        in imported(tmp_path / "archive", target, channels=("PD",)).notes
    )
