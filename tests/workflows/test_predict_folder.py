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
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
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
    """Foreground where a voxel is above 500."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        return torch.cat([500 - image, image - 500], 1)


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
    failed = predict_folder(predictor, inputs, output, lambda *_: None)
    assert sorted(p.name for p in output.iterdir()) == [
        *("a good.nrrd", "a good.png", "d bug.traceback.txt", "g good.nrrd", "g good.png"),
        "preview.png",
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
    later = (output / "a good.nrrd").stat().st_mtime + 9
    os.utime(inputs / "a good_0000.nrrd", (later, later))
    with caplog.at_level(logging.WARNING):
        again = predict_folder(predictor, inputs, output, lambda *_: None, skip_existing=True)
    assert again == failed, "the others are kept"
    said = [text for text in caplog.messages if "older" in text]
    assert said == [f"{output}/a good.nrrd: kept, and older than its scan; remove it to predict it again"]
    assert set(np.unique(read_image(output / "a good.nrrd").array)) <= {0, 1}


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
        assert predict_folder(predictor, tmp_path / "in", tmp_path / "out", lambda *_: None) == []
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
    tree = tmp_path / "dicom"
    for number, folder in ((1, "a"), (2, "b")):
        save(tree / folder, slices(scan(number), SeriesNumber=number))
        write_image(tmp_path / f"{number}.nii.gz", scan(number), OBLIQUE)
        case = Case(f"K01_s{number}", (tmp_path / f"{number}.nii.gz",))
        predictor.predict_case(case, tmp_path / "of files")
    save(tree / "scout", slices(scan(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert predict_folder(predictor, tree, tmp_path / "of dicom", lambda *_: None, dicom_seg=True) == []
    for name in ("K01_s1.nrrd", "K01_s2.nrrd"):
        one, other = (read_image(tmp_path / of / name) for of in ("of dicom", "of files"))
        np.testing.assert_array_equal(one.array, other.array)
        assert 0 < one.array.mean() < 1 and one.grid.mismatch(other.grid) is None
        seg = read_dicom_segmentation((tmp_path / "of dicom" / name).with_suffix(".dcm"))
        np.testing.assert_array_equal(seg.mask(seg.segments[0]), one.array == 1)
        assert seg.grid.mismatch(one.grid) is None and seg.segments[0].name == "femur"
    written = sorted(p.name for p in (tmp_path / "of dicom").iterdir())
    files = [f"K01_s{number}.{ending}" for number in (1, 2) for ending in ("dcm", "nrrd", "png")]
    assert written == [*files, "dicom_series.csv", "preview.png"]
    table = (tmp_path / "of dicom" / "dicom_series.csv").read_text().splitlines()
    assert [row[:16] for row in table[1:]] == ["K01_s1,0,MR,1,5,", "K01_s2,0,MR,2,5,"]
    assert "Jane" not in "".join(table)
    with pytest.raises(KneeformerError, match="no DICOM series"):
        predict_folder(predictor, tmp_path / "1.nii.gz", tmp_path / "out", lambda *_: None, dicom_seg=True)
