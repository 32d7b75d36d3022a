"""What a prediction takes of the folders that it is given."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_series import save, scan, slices
from prepared import plan

from kneeformer.config import Configuration
from kneeformer.errors import KneeformerError
from kneeformer.plans import parse_plan
from kneeformer.workflows.inputs import Inputs, Sources, gather_inputs

DATASET = plan().dataset
SEGMENTATION = plan().configuration("3d_vit")
BONES = {
    "task": "completion",
    "preprocessing": {"folder": "3d_bone", "spacing": [2, 2, 2], "grid": [16, 16, 16]},
    "training": SEGMENTATION.training.model_dump(),
    "registration": {},
    "prior": {"kind": "pca"},
}
COMPLETION = parse_plan(
    {"dataset": DATASET.model_dump(), "configurations": {"3d_pca": BONES}}, "test"
).configuration("3d_pca")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files in a folder of a name."""

    def make(folder: str, *names: str) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            (tmp_path / folder / name).touch()
        return tmp_path / folder

    return make


def of(folder: Path, masks: Path | None = None, configuration: Configuration = SEGMENTATION) -> Inputs:
    return gather_inputs(Sources(folder, masks), configuration, DATASET)


def test_scans_of_every_format_are_taken(put: Callable[..., Path]) -> None:
    folder = put("in", "a_0000.nrrd", "b_0000.NRRD", "c_0000.nii.gz", "d_0000.seg.nrrd", "e_0000.mha")
    inputs = of(folder)
    assert {c.name: c.images[0].name for c in inputs.cases} == {
        "a": "a_0000.nrrd",
        "b": "b_0000.NRRD",
        "c": "c_0000.nii.gz",
        "d": "d_0000.seg.nrrd",
        "e": "e_0000.mha",
    }
    assert inputs.duplicates == [] and inputs.folders == [folder]


def test_what_is_not_taken_is_told(put: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    names = ("P2.nrrd", "P2_0000.dcm", "good_0001.nrrd", "P3\n_0000.nrrd", "._good_0000.nrrd", "notes.txt")
    folder = put("in", "good_0000.nrrd", *names)
    with caplog.at_level(logging.WARNING):
        assert [c.name for c in of(folder).cases] == ["good"]
    (text,) = caplog.messages
    first, *lines = text.splitlines()
    assert first == "4 files are ignored:"
    assert [line.removeprefix(f"  {folder}/").split(";")[0] for line in lines] == [
        "P2_0000.dcm: .dcm is not read",
        r"P3\n_0000.nrrd: its name holds control characters or is not UTF-8",
        "P2.nrrd: not called CASE_0000.nrrd (0000 is the channel's number)",
        "good_0001.nrrd: extra channel 0001: dataset.json names 1 (PD)",
    ]


def test_dicom_without_an_ending_beside_scans_is_told(
    put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = put("in", "good_0000.nrrd", "README")
    (folder / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert [c.name for c in of(folder).cases] == ["good"]
    (text,) = caplog.messages
    assert text.splitlines()[1:] == [
        f"  {folder}/IM0001: DICOM, and not read beside CASE_0000 files; give a folder of DICOM series alone"
    ]


def test_files_without_a_number_beside_dicom_series_are_no_scans(
    put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A label map drawn by hand, or what an earlier call predicted into the folder."""
    folder = put("in", "K01_s4.nrrd", "drawn.nrrd")
    save(folder / "series", slices(scan()))
    inputs = of(folder)
    assert [c.name for c in inputs.cases] == ["K01_s4"] and inputs.cases[0].images[0].parent.name == "series"
    assert caplog.messages[0].splitlines()[1:] == [
        f"  {folder}/{name}: not read beside DICOM series; move it elsewhere if it is a scan"
        for name in ("K01_s4.nrrd", "drawn.nrrd")
    ]


def test_slicers_segmentation_beside_its_scan_is_none(
    put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = put("in", "K01.nrrd", "K01.seg.nrrd", "K02.seg.nrrd")
    inputs = of(folder)
    assert [case.images[0].name for case in inputs.cases] == ["K01.nrrd"] and inputs.duplicates == []
    assert caplog.messages[0].splitlines()[1:] == [
        f"  {folder}/{name}: a segmentation of 3D Slicer, not a scan; name a scan CASE_0000.nrrd"
        for name in ("K01.seg.nrrd", "K02.seg.nrrd")
    ]


def test_k_space_beside_images_is_told(put: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = put("in", "K01.nrrd", "K02.h5")
    assert [case.name for case in of(folder).cases] == ["K01"]
    assert caplog.messages[0].splitlines()[1].startswith(f"  {folder}/K02.h5: k-space, of which")


def test_a_folder_without_inputs_says_what_is_there(put: Callable[..., Path]) -> None:
    folder = put("in", "P2.mgz", "P3_0000.dcm")
    with pytest.raises(KneeformerError) as caught:
        of(folder)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{folder}: no images called CASE_0000.nrrd here"
    assert len(lines) == 2 and "P2.mgz" in lines[0] and "P3_0000.dcm" in lines[1]


def test_two_files_of_one_scan(put: Callable[..., Path]) -> None:
    folder = put("in", "P2_0000.nrrd", "P2_0000.nii.gz", "P3_0000.nrrd", "P3.nrrd", "P3.seg.nrrd")
    assert of(folder).duplicates == [
        f"{folder}: P2_0000.nii.gz and P2_0000.nrrd are two files of one name, P2_0000; move one elsewhere"
    ]


def test_dicom_series_of_a_study_are_the_channels_of_its_case(tmp_path: Path) -> None:
    study = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    pd = save(tmp_path / "a", slices(scan(1), SeriesDescription="PD", SeriesNumber=4, **study))
    t2 = save(tmp_path / "b", slices(scan(2), SeriesDescription="t2", SeriesNumber=5, **study))
    two = DATASET.model_copy(update={"channel_names": ("T2", "PD")})
    found = gather_inputs(Sources(tmp_path), SEGMENTATION, two)
    assert [(case.name, len(case.images)) for case in found.cases] == [("K01_s5", 2)]
    assert [image.parent for image in found.cases[0].images] == [t2.parent, pd.parent]
    with pytest.raises(KneeformerError, match="no series described as 'T1', a channel, but 'PD', 't2'"):
        wanted = DATASET.model_copy(update={"channel_names": ("T1", "PD")})
        gather_inputs(Sources(tmp_path), SEGMENTATION, wanted)


def test_one_file(put: Callable[..., Path]) -> None:
    folder = put("in", "P2_0000.NII.GZ", "other_0000.nrrd")
    (case,) = of(folder / "P2_0000.NII.GZ").cases
    assert case.name == "P2"


class TestMasks:
    def test_masks_of_every_format_are_taken(self, put: Callable[..., Path]) -> None:
        scans = put("in", "a_0000.nrrd", "b_0000.nrrd", "c_0000.nrrd", "M\u00fcller_0000.nrrd")
        masks = put("masks", "a.seg.nrrd", "b.NII.GZ", "Mu\u0308ller.nrrd", "surplus.nrrd", "._a.nrrd")
        inputs = of(scans, masks, COMPLETION)
        assert {c.name: c.mask and c.mask.name for c in inputs.cases} == {
            "a": "a.seg.nrrd",
            "b": "b.NII.GZ",
            "c": "c.nrrd",  # which is missing, as the check of the files will say
            "M\u00fcller": "Mu\u0308ller.nrrd",
        }
        assert inputs.folders == [scans, masks] and inputs.duplicates == []

    def test_two_masks_of_one_case(self, put: Callable[..., Path]) -> None:
        scans, masks = put("in", "a_0000.nrrd"), put("masks", "a.seg.nrrd", "a.nrrd", "b.nrrd", "b.mha")
        assert of(scans, masks, COMPLETION).duplicates == [
            f"{masks}: a.nrrd and a.seg.nrrd are two files of one name, a; move one elsewhere"
        ]

    def test_masks_beside_the_scans_are_not_strays(
        self, put: Callable[..., Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = put("in", "a_0000.nrrd", "a.seg.nrrd")
        assert of(folder, folder, COMPLETION).cases[0].mask == folder / "a.seg.nrrd"
        assert caplog.messages == []

    def test_a_folder_that_is_not_there(self, put: Callable[..., Path], tmp_path: Path) -> None:
        with pytest.raises(KneeformerError, match=r"-m .*gone: no such folder"):
            of(put("in", "a_0000.nrrd"), tmp_path / "gone", COMPLETION)
