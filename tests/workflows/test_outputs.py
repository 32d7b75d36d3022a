"""Where predictions may be written, and where they would cost something."""

import os
from pathlib import Path

import pytest

from kneeformer.data.dataset import Case
from kneeformer.data.files import unfinished
from kneeformer.errors import KneeformerError
from kneeformer.paths import refuse_in_raw
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.inputs import Inputs
from kneeformer.workflows.outputs import output_files, refuse_outputs, remove_leftovers, shared_outputs

BONES, KNEES = predictive("completion").outputs, predictive("segmentation").outputs


def refusal(
    cases: list[Case], output: Path, outputs: tuple[str, ...] = BONES, folders: tuple[Path, ...] = ()
) -> list[str]:
    """The lines below the first, without the output's folder."""
    try:
        refuse_outputs(Inputs(cases, list(folders), []), cases, output, outputs, ".nrrd")
    except KneeformerError as fault:
        return [line.strip().removeprefix(f"{output}/") for line in str(fault).splitlines()[1:]]
    return []


@pytest.fixture
def scan(tmp_path: Path) -> Case:
    """A scan and its mask, each in a folder of its own."""
    for file in ("scans/P1_0000.nrrd", "masks/P1.nrrd"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("the user's")
    return Case("P1", (tmp_path / "scans/P1_0000.nrrd",), mask=tmp_path / "masks/P1.nrrd")


class TestInputs:
    def test_elsewhere_everything_may_be_written(self, scan: Case, tmp_path: Path) -> None:
        folders = (tmp_path / "scans", tmp_path / "masks")
        assert refusal([scan], tmp_path / "out", folders=folders) == []
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "P1.nrrd").touch()  # an earlier prediction
        assert refusal([scan], tmp_path / "out", folders=folders) == []
        assert refusal([scan], tmp_path / "scans" / "out", folders=folders) == []

    @pytest.mark.parametrize("link", ["no", "of the folder", "of the file", "hard"])
    def test_a_mask_is_not_written_over(self, scan: Case, tmp_path: Path, link: str) -> None:
        output, mask = tmp_path / "masks", tmp_path / "masks" / "P1.nrrd"
        if link == "of the folder":
            output = tmp_path / "link"
            output.symlink_to(tmp_path / "masks")
        elif link != "no":
            output = tmp_path / "out"
            output.mkdir()
            (os.link if link == "hard" else os.symlink)(mask, output / "P1.nrrd")
        expected = ["P1.nrrd: would be overwritten, and is an input; give another folder with -o"]
        assert refusal([scan], output) == expected

    def test_nor_is_a_file_of_the_other_side(self, scan: Case, tmp_path: Path) -> None:
        (tmp_path / "others").mkdir()
        (tmp_path / "others" / "P1_ct.nrrd").touch()
        other = Case("P1", (tmp_path / "others" / "P1_ct.nrrd",))
        paired = Case("P1", scan.images, mask=scan.mask, other_side=other)
        assert len(refusal([paired], tmp_path / "others")) == 1

    def test_what_else_lies_in_a_folder_of_inputs_is_kept(self, scan: Case, tmp_path: Path) -> None:
        output = tmp_path / "scans"
        assert refusal([scan], output, KNEES, (output,)) == []
        (output / "P1.nrrd").write_text("a label map, drawn by hand")
        (line,) = refusal([scan], output, KNEES, (output,))
        assert line.startswith("P1.nrrd: exists in a folder of inputs and would be overwritten")

    def test_nor_are_voxels_beside_a_header(self, tmp_path: Path) -> None:
        """P1.mhd is written with P1.zraw, which may be the voxels of P1_0000.mhd."""
        (tmp_path / "P1_0000.mhd").write_text("ElementDataFile = P1.zraw\n")
        (tmp_path / "P1.zraw").write_text("the user's")
        case = Case("P1", (tmp_path / "P1_0000.mhd",))
        assert output_files("P1", ("*", ".png"), ".mhd") == ["P1.mhd", "P1.zraw", "P1.png"]
        assert output_files("P1", ("_femur.stl",), "") == ["P1_femur.stl"]
        with pytest.raises(KneeformerError, match=r"P1\.zraw: would be overwritten, and is an input"):
            refuse_outputs(Inputs([case], [tmp_path], []), [case], tmp_path, KNEES, ".mhd")

    def test_predictions_are_not_written_among_scans_of_the_same_names(self, tmp_path: Path) -> None:
        """In another format they would be written over none, and be scans at the next call."""
        file = tmp_path / "P1.mha"
        file.touch()
        case, folders = Case("P1", (file,)), (tmp_path,)
        (line,) = refusal([case], tmp_path, KNEES, folders)
        assert line.endswith("holds scans called CASE, as predictions are; give another folder with -o")
        assert refusal([case], tmp_path / "out", KNEES, folders) == []

    def test_a_dataset_is_not_written_into(self, scan: Case, tmp_path: Path) -> None:
        (tmp_path / "D" / "labelsTr").mkdir(parents=True)
        (tmp_path / "D" / "dataset.json").touch()
        for output in (tmp_path / "D", tmp_path / "D" / "labelsTr", tmp_path / "D" / "new"):
            assert "belongs to the dataset of" in refusal([scan], output)[0]

    def test_a_file_is_no_folder(self, scan: Case) -> None:
        with pytest.raises(KneeformerError, match="is a file; give a folder"):
            refuse_outputs(Inputs([scan], [], []), [scan], scan.images[0], BONES, ".nrrd")


def test_what_a_killed_prediction_left_is_cleared_of_its_own_cases(scan: Case, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    mine, others = unfinished(output / "P1_ct.nrrd"), unfinished(output / "P10.nrrd")
    for file in (mine, others, output / "P1.nrrd"):
        file.touch()
    remove_leftovers([scan], output, BONES, ".nrrd")
    assert set(output.iterdir()) == {others, output / "P1.nrrd"}


class TestRaw:
    def test_nothing_in_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        raw = tmp_path / "raw"
        raw.mkdir()
        (tmp_path / "link").symlink_to(raw)
        refuse_in_raw(raw)  # nobody has said that this is kf_raw
        monkeypatch.setenv("kf_raw", str(raw))
        for output in (raw, raw / "Dataset001_Knee" / "labelsTr", tmp_path / "link" / "new"):
            with pytest.raises(KneeformerError, match="lies in kf_raw"):
                refuse_in_raw(output)
        refuse_in_raw(tmp_path / "out" / ".." / "rawer")
        monkeypatch.setenv("kf_raw", str(tmp_path / "link"))
        with pytest.raises(KneeformerError, match="lies in kf_raw"):
            refuse_in_raw(raw / "new")


class TestSharedOutputs:
    def test_a_completion_and_a_case_that_is_called_like_a_part_of_it(self) -> None:
        lines = shared_outputs(["P1", "P1_ct", "P2", "P2_raw"], BONES, ".nii.gz")
        assert lines == [
            "p1_ct.nii.gz: a file of P1 and of P1_ct; rename one of these cases",
            "p2_raw.nii.gz: a file of P2 and of P2_raw; rename one of these cases",
        ]

    def test_a_completion_called_summary(self) -> None:
        assert shared_outputs(["summary"], BONES, ".nrrd") == [
            "summary.json: a file of kf_evaluate, too; rename the case"
        ]

    def test_label_maps_share_nothing(self) -> None:
        assert shared_outputs(["P1", "P1_ct", "P1_probabilities", "summary"], KNEES, ".nrrd") == []

    def test_the_preview_is_no_case(self) -> None:
        assert shared_outputs(["preview"], KNEES, ".nrrd") == [
            "preview.png: a file of kf_predict, too; rename the case"
        ]
        assert shared_outputs(["predicted_by"], BONES, ".nrrd") == [
            "predicted_by.json: a file of kf_predict, too; rename the case"
        ]

    def test_names_that_some_disks_take_for_one(self) -> None:
        assert [line.split(";")[0] for line in shared_outputs(["K1", "k1"], KNEES, ".nrrd")] == [
            "k1.nrrd: a file of K1 and of k1",
            "k1_probabilities.npz: a file of K1 and of k1",
            "k1.png: a file of K1 and of k1",
        ]
