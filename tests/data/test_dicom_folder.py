"""Series of a tree of DICOM files, and the names of their cases."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import save, scan, slices
from pydicom.data import get_testdata_file

from kneeformer.data.dicom_folder import case_names, dicom_folder, subjects
from kneeformer.data.images import read_image
from kneeformer.errors import KneeformerError


def test_series_of_a_tree_and_what_is_no_volume(tmp_path: Path) -> None:
    study = tmp_path / "DICOM" / "ST1"
    save(study, slices(scan(1), SeriesNumber=2), list("acegi"))
    save(study, slices(scan(2), SeriesNumber=10), list("bdfhj"))
    save(study / "scout", slices(scan(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    save(study / "one", slices(scan()[:1]))
    save(study / "colours", slices(scan(), SamplesPerPixel=3))
    save(study / "screen", slices(scan(), ImagePositionPatient=None))
    save(study / ".hidden", slices(scan()))
    (study / "notes.txt").write_text("no DICOM")
    (study / "damaged").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    found = dicom_folder(tmp_path)
    assert [(s.number, len(s.files)) for s in found.series] == [(2, 5), (10, 5)]
    assert {p.parent.name: reason.split(";")[0] for p, reason in found.ignored.items()} == {
        "ST1": "no images (modality unknown)",
        "scout": "a localiser",
        "one": "a single slice",
        "colours": "colour images",
        "screen": "images without a position in the patient, such as a photograph of a screen",
    }
    np.testing.assert_array_equal(read_image(found.series[1].files[0]).array, scan(2))


def test_pydicoms_own_files() -> None:
    """Of most series they hold a few slices. Each is read, refused or left aside with a reason."""
    found = dicom_folder(Path(get_testdata_file("MR_small.dcm")).parent)
    told: dict[str, str] = {}
    for series in found.series:
        try:
            told[series.files[0].name] = " x ".join(map(str, read_image(series.files[0]).array.shape))
        except KneeformerError as fault:
            told[series.files[0].name] = str(fault)
    assert told["2062"] == "5 x 16 x 16"  # CT5N
    assert "slices are missing: 17106 and 17136" in told["17106"]  # CT2
    assert "4467 and 4528 differ in their orientation" in told["4467"]  # MR700
    assert not any(path.name == "DICOMDIR" for path in found.ignored)
    reasons = {path.name: reason for path, reason in found.ignored.items()}
    assert reasons["6293"] == "a localiser; not used" and reasons["rtplan.dcm"].startswith("no images")
    assert reasons["6154"].startswith("images without a position") and "colour" in reasons["SC_rgb_jpeg.dcm"]


def test_a_series_in_two_folders_is_told(tmp_path: Path) -> None:
    data = slices(scan())
    save(tmp_path / "a", data[:2])
    save(tmp_path / "b", data[2:])
    found = dicom_folder(tmp_path)
    assert found.series == [] and "lies in 2 folders" in found.scattered[0]


def test_case_names_are_safe_and_of_one_series_each(tmp_path: Path) -> None:
    for folder, patient, number in (
        ("a", "K/01", 4),
        ("b", "K 01", 4),
        ("c", "K/01", 4),
        ("d", "../x", 1),
        ("e", "k/01", 4),
        ("f", "", None),
    ):
        save(
            tmp_path / folder,
            slices(scan(), PatientID=patient, SeriesNumber=number, StudyInstanceUID="1.2.3"),
        )
    named = case_names(dicom_folder(tmp_path).series)
    assert sorted(named) == ["K_01-2_s4", "K_01-2_s4-2", "K_01_s4", "k_01-3_s4", "studyc47f5b18_s0", "x_s1"]
    assert subjects(named)["K_01-2_s4-2"] == "K_01-2"


def test_a_file_stands_for_its_series(tmp_path: Path) -> None:
    first = save(tmp_path, slices(scan(1)), list("acegi"))
    save(tmp_path, slices(scan(2)), list("bdfhj"))
    (series,) = dicom_folder(first).series
    assert [p.name for p in series.files] == list("acegi")


def test_no_pydicom_is_a_sentence_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, slices(scan()))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    for ask in (dicom_folder, lambda folder: read_image(next(folder.iterdir()))):
        with pytest.raises(
            KneeformerError, match=r"DICOM files need pydicom: pip install 'kneeformer\[dicom\]'"
        ):
            ask(tmp_path)
