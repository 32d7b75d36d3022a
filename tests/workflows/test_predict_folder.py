"""Predicting many cases: what happens to one is told in a line and costs the others nothing."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_series import OBLIQUE, save, scan, slices
from prepared import SHAPE, plan
from torch import Tensor, nn

from kneeformer.data.dataset import Case
from kneeformer.data.dicom_segmentation import read_dicom_segmentation
from kneeformer.data.images import read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.tasks.cases import Scan
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.predict import NO_EXTRAS, Extras, Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.predicted_by import PREDICTED_BY
from kneeformer.workflows.warning_log import kept_warnings


class ByFirstVoxel(nn.Module):
    """Does what the first voxel of an image says: a network that fails with the faults of real libraries."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        match int(image.flatten()[0]):
            case 1:
                np.empty(2**50)
            case 2:
                torch.empty(2**50)
            case 3:
                torch.zeros(2) + torch.zeros(3)
            case 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
            case 5:
                raise PermissionError(13, "Permission denied", "cache")
        return torch.cat([image, -image], 1)


class Thresholds(nn.Module):
    """Foreground where a voxel is above 500, less its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        above = image - 500 + self.weight
        return torch.cat([-above, above], 1)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for number, name in enumerate(("a good", "b array", "c tensor", "d bug", "e cuda", "f file")):
        voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
        voxels.flat[0] = number
        write_image(tmp_path / "in" / f"{name}_0000.nrrd", voxels, Grid(SHAPE, (1, 1, 1)))
    write_image(tmp_path / "in" / "g good_0000.nrrd", voxels + 9, Grid(SHAPE, (1, 1, 1)))
    return tmp_path / "in"


def test_each_fault_costs_its_own_case(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (ByFirstVoxel(),))
    output = tmp_path / "out"
    failed = predict_folder(predictor, Sources(inputs), output, lambda *_: None)
    assert sorted(p.name for p in output.iterdir()) == [
        *("a good.nrrd", "a good.png", "d bug.traceback.txt", "g good.nrrd", "g good.png"),
        *(PREDICTED_BY, "preview.png"),
    ]
    assert (output / "preview.png").read_bytes() == (output / "a good.png").read_bytes()
    remedy = "predict it while nothing else runs, or crop the scan to what is to be predicted"
    kept = output / "d bug.traceback.txt"
    assert failed == [
        f"{inputs}/b array_0000.nrrd: not enough memory; {remedy}",
        f"{inputs}/c tensor_0000.nrrd: not enough memory; {remedy}",
        f"{inputs}/d bug_0000.nrrd: RuntimeError: The size of tensor a (2) must match the size of tensor b "
        f"(3) at non-singleton dimension 0; this is a bug of kneeformer: please report it with {kept}",
        f"{inputs}/e cuda_0000.nrrd: not enough memory; predict it with -device cpu",
        f"{inputs}/f file_0000.nrrd: cache: permission denied; change its owner or its permissions, or "
        f"choose another place",
    ]
    assert "in forward" in kept.read_text()
    assert set(np.unique(read_image(output / "a good.nrrd").array)) <= {0, 1}
    predicted = {case: (output / f"{case}.nrrd").stat().st_mtime_ns for case in ("a good", "g good")}
    assert predict_folder(predictor, Sources(inputs), output, lambda *_: None, skip_existing=True) == failed
    assert predicted == {case: (output / f"{case}.nrrd").stat().st_mtime_ns for case in predicted}


def test_earlier_predictions_that_remain_are_told(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output, grid = tmp_path / "out", Grid(SHAPE, (1, 1, 1))
    for name in ("a good", "b array", "of another folder"):
        write_image(output / f"{name}.nrrd", np.zeros(SHAPE, np.uint8), grid)
    (output / PREDICTED_BY).write_text("{}")
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (ByFirstVoxel(),))
    predict_folder(predictor, Sources(inputs), output, lambda *_: None)
    assert caplog.messages == [
        f"{output}: files of another model, not of these scans: of another folder.nrrd; remove them, or give "
        f"another folder with -o",
        f"{output}: earlier predictions of cases that could not be predicted now: b array.nrrd; remove them",
    ]
    caplog.clear()
    predict_folder(predictor, Sources(inputs / "a good_0000.nrrd"), output, lambda *_: None)
    assert caplog.messages == []  # one scan after the other may be predicted into a folder
    (inputs / PREDICTED_BY).write_text("{}")
    predict_folder(predictor, Sources(inputs), inputs, lambda *_: None)
    assert caplog.messages == []  # nor are the scans themselves another model's files


class TestKeptPredictions:
    """--continue_prediction: what is kept is newer than its scan, and of this model and these settings."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Two scans, in "in", that an earlier model has found to be femur everywhere, in "out"."""
        rng = np.random.default_rng(0)
        for name in ("one", "two"):
            voxels = rng.uniform(0, 1000, SHAPE).astype(np.float32)
            write_image(tmp_path / "in" / f"{name}_0000.nrrd", voxels, Grid(SHAPE, (1, 1, 1)))
        self.predict(tmp_path, bias=1e6)
        assert self.found(tmp_path) == {"one": 1, "two": 1}
        return tmp_path

    def predict(self, place: Path, bias: float, keep: bool = False, extras: Extras = NO_EXTRAS) -> None:
        network = Thresholds()
        network.weight.data.fill_(bias)
        predictor = Predictor(plan(), plan().configuration("3d_vit"), (network,))
        failed = predict_folder(
            predictor, Sources(place / "in"), place / "out", lambda *_: None, extras, skip_existing=keep
        )
        assert failed == []

    def found(self, place: Path) -> dict[str, float]:
        """The part of each scan that is femur."""
        return {p.stem: float(read_image(p).array.mean()) for p in sorted((place / "out").glob("*.nrrd"))}

    def test_of_the_same_model(self, place: Path) -> None:
        by_hand = np.zeros(SHAPE, np.uint8)
        write_image(place / "out" / "one.nrrd", by_hand, Grid(SHAPE, (1, 1, 1)))
        (place / "out" / "two.nrrd").unlink()
        self.predict(place, bias=1e6, keep=True)
        assert self.found(place) == {"one": 0, "two": 1}

    def test_none_of_a_model_that_was_trained_again(
        self, place: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.predict(place, bias=-1e6, keep=True)
        assert self.found(place) == {"one": 0, "two": 0}
        (said,) = caplog.messages
        assert said.startswith(f"{place}/out: 2 predictions are older than their scans, or of another model")

    def test_none_that_a_killed_prediction_did_not_come_to(self, place: Path) -> None:
        before = (place / "out" / "two.nrrd").read_bytes()
        old = (place / "out" / "two.nrrd").stat().st_mtime
        self.predict(place, bias=-1e6)  # and was killed before the second scan:
        (place / "out" / "two.nrrd").write_bytes(before)
        os.utime(place / "out" / "two.nrrd", (old, old))
        self.predict(place, bias=-1e6, keep=True)
        assert self.found(place) == {"one": 0, "two": 0}

    def test_none_that_is_older_than_a_slice_of_its_series(self, tmp_path: Path) -> None:
        """A series that was still being copied when it was predicted: 4 of 5 slices make a volume, too."""
        save(tmp_path / "in", slices(scan(1)), names="abcde")
        last = (tmp_path / "in" / "e").rename(tmp_path / "e")
        self.predict(tmp_path, bias=0)
        later = (tmp_path / "out" / "K01_s4.nrrd").stat().st_mtime + 9
        os.utime(last.rename(tmp_path / "in" / "e"), (later, later))
        self.predict(tmp_path, bias=0, keep=True)
        assert read_image(tmp_path / "out" / "K01_s4.nrrd").grid.shape == OBLIQUE.shape

    def test_none_that_is_older_than_its_scan(self, place: Path) -> None:
        by_hand = np.zeros(SHAPE, np.uint8)
        for name in ("one", "two"):
            write_image(place / "out" / f"{name}.nrrd", by_hand, Grid(SHAPE, (1, 1, 1)))
        later = (place / "out" / "one.nrrd").stat().st_mtime + 9
        os.utime(place / "in" / "one_0000.nrrd", (later, later))
        self.predict(place, bias=1e6, keep=True)
        assert self.found(place) == {"one": 1, "two": 0}

    def test_none_of_a_scan_that_was_replaced_by_an_older_file(self, place: Path) -> None:
        """As `rsync -a` leaves it: the time of writing is that of the file that was copied."""
        one, two = ((place / "out" / f"{name}.nrrd").stat() for name in ("one", "two"))
        corrected = place / "corrected.nrrd"
        write_image(corrected, np.ones(SHAPE, np.float32).cumsum(0), Grid(SHAPE, (1, 1, 1)))
        os.utime(corrected, (1, 1))
        while corrected.stat().st_ctime_ns <= two.st_ctime_ns:  # until the disk's clock goes on
            os.utime(corrected, (1, 1))
        corrected.replace(place / "in" / "one_0000.nrrd")
        self.predict(place, bias=1e6, keep=True)
        assert (place / "out" / "one.nrrd").stat().st_mtime_ns > one.st_mtime_ns
        assert (place / "out" / "two.nrrd").stat().st_mtime_ns == two.st_mtime_ns

    def test_none_of_a_header_whose_voxels_were_replaced(self, tmp_path: Path) -> None:
        voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
        write_image(tmp_path / "in" / "one_0000.mhd", voxels, Grid(SHAPE, (1, 1, 1)))
        self.predict(tmp_path, bias=0)
        made = (tmp_path / "out" / "one.nrrd").stat()
        later = made.st_mtime + 9
        os.utime(tmp_path / "in" / "one_0000.zraw", (later, later))
        self.predict(tmp_path, bias=0, keep=True)
        assert (tmp_path / "out" / "one.nrrd").stat().st_mtime_ns > made.st_mtime_ns

    @pytest.mark.parametrize("damaged", [False, True])
    def test_where_nothing_tells_what_made_them_none_is_written_over(
        self, place: Path, damaged: bool
    ) -> None:
        """As in a folder into which label maps corrected by hand were copied."""
        record, before = place / "out" / PREDICTED_BY, self.found(place)
        record.write_text("{") if damaged else record.unlink()
        with pytest.raises(KneeformerError, match="2 cases have a file there, and no readable predicted_by"):
            self.predict(place, bias=-1e6, keep=True)
        assert self.found(place) == before
        self.predict(place, bias=-1e6)
        assert self.found(place) == {"one": 0, "two": 0}

    def test_none_without_a_file_that_is_wanted_now(self, place: Path) -> None:
        self.predict(place, bias=1e6, keep=True, extras=Extras(probabilities=True))
        assert (place / "out" / "one_probabilities.npz").is_file()


def test_what_may_be_wrong_with_intensities_is_told_once_and_by_the_first_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        voxels = rng.uniform(0, 1000, SHAPE).astype(np.float32)
        voxels[3, 4, 5:8] = -32768
        write_image(tmp_path / "in" / f"{number:02}_0000.nrrd", voxels, Grid(SHAPE, (1, 1, 1)))
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (ByFirstVoxel(),))
    with caplog.at_level(logging.WARNING):
        assert predict_folder(predictor, Sources(tmp_path / "in"), tmp_path / "out", lambda *_: None) == []
    (text,) = [m for m in caplog.messages if "outside" in m]
    first, *lines = text.splitlines()
    assert first == "12 warnings:" and len(lines) == 11 and lines[-1] == "  and 2 more"
    assert lines[0].startswith(f"  {tmp_path}/in/00_0000.nrrd: 3 voxels (")
    assert "lie at -32768, far outside the others" in lines[0]
    assert kept_warnings(tmp_path / "out") == [text]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_an_array_with_voxels_that_are_no_numbers_is_refused(value: float) -> None:
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (ByFirstVoxel(),))
    voxels = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    voxels[1, 2, 3] = value
    with pytest.raises(KneeformerError, match="NaN, infinite or over 3e38"):
        predictor.predict(voxels, (1.0, 1.0, 1.0))


def test_dicom_series_are_predicted_as_the_same_volumes_in_files(tmp_path: Path) -> None:
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (Thresholds(),))
    tree, with_seg = tmp_path / "dicom", Extras(dicom_seg=True)
    for number, folder in ((1, "a"), (2, "b")):
        save(tree / folder, slices(scan(number), SeriesNumber=number))
        write_image(tmp_path / f"{number}.nii.gz", scan(number), OBLIQUE)
        case = Case(f"K01_s{number}", (tmp_path / f"{number}.nii.gz",))
        predictor.predict_case(case, tmp_path / "of files")
    save(tree / "scout", slices(scan(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert predict_folder(predictor, Sources(tree), tmp_path / "of dicom", lambda *_: None, with_seg) == []
    for name in ("K01_s1.nrrd", "K01_s2.nrrd"):
        one, other = (read_image(tmp_path / of / name) for of in ("of dicom", "of files"))
        np.testing.assert_array_equal(one.array, other.array)
        assert 0 < one.array.mean() < 1 and one.grid.mismatch(other.grid) is None
        seg = read_dicom_segmentation((tmp_path / "of dicom" / name).with_suffix(".dcm"))
        np.testing.assert_array_equal(seg.mask(seg.segments[0]), one.array == 1)
        assert seg.grid.mismatch(one.grid) is None and seg.segments[0].name == "femur"
    written = sorted(p.name for p in (tmp_path / "of dicom").iterdir())
    files = [f"K01_s{number}.{ending}" for number in (1, 2) for ending in ("dcm", "nrrd", "png")]
    assert written == [*files, "dicom_series.csv", PREDICTED_BY, "preview.png"]
    table = (tmp_path / "of dicom" / "dicom_series.csv").read_text().splitlines()
    assert [row[:16] for row in table[1:]] == ["K01_s1,0,MR,1,5,", "K01_s2,0,MR,2,5,"]
    assert "Jane" not in "".join(table)
    with pytest.raises(KneeformerError, match="no DICOM series"):
        predict_folder(predictor, Sources(tmp_path / "1.nii.gz"), tmp_path / "out", lambda *_: None, with_seg)


@pytest.mark.parametrize(("unit", "warned"), [(0.2, True), (0.3, False), (3.0, False), (5.0, True)])
def test_voxels_far_larger_or_smaller_than_those_learnt_from_are_told(unit: float, warned: bool) -> None:
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (Thresholds(),))
    voxels = np.random.default_rng(0).uniform(0, 1000, (1, *SHAPE)).astype(np.float32)
    outputs = predictor.predict_scan(Scan(voxels, Grid(SHAPE, (unit, unit, unit))))
    said = f"its spacing is {unit:g} x {unit:g} x {unit:g} mm, that of the training set 1 x 1 x 1 mm, if its "
    assert [line.startswith(said) for line in outputs.warnings] == [True] * warned
