"""DICOM series: read in the order of their positions, or refused in words."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import OBLIQUE, multiframe, save, scan, slices
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from kneeformer.data.formats.base import FileFault
from kneeformer.data.formats.dicom_planes import stored_values
from kneeformer.data.images import read_image
from kneeformer.errors import KneeformerError


def refusal(path: Path) -> str:
    with pytest.raises(KneeformerError) as told:
        read_image(path)
    return str(told.value)


def test_slices_are_sorted_by_position_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    data = slices(scan())
    for one, number in zip(data, (3, 1, 5, 4, 2), strict=True):
        one.InstanceNumber = number
    image = read_image(save(tmp_path, data[::-1]))
    np.testing.assert_array_equal(image.array, scan())
    assert image.array.dtype == np.int16 and image.grid.mismatch(OBLIQUE) is None


def test_an_oblique_series_is_where_simpleitk_has_it(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, slices(scan())))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), image.array)
    np.testing.assert_allclose(image.grid.origin, other.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(image.grid.direction, other.GetDirection(), atol=1e-4)
    np.testing.assert_allclose(image.grid.spacing[::-1], other.GetSpacing(), atol=1e-4)


def test_two_series_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    first = save(tmp_path, slices(scan(1)), list("acegi"))
    second = save(tmp_path, slices(scan(2)), list("bdfhj"))
    np.testing.assert_array_equal(read_image(first).array, scan(1))
    np.testing.assert_array_equal(read_image(second).array, scan(2))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, np.int16), (0.5, 2, np.float32), (1, 40000, np.int32)]
)
def test_values_are_scaled(slope: float, intercept: float, dtype: Any, tmp_path: Path) -> None:
    data = slices(scan(), RescaleSlope=slope, RescaleIntercept=intercept)
    image = read_image(save(tmp_path, data))
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array, scan() * float(slope) + intercept)


def test_each_slice_may_be_scaled_otherwise(tmp_path: Path) -> None:
    data = slices(scan())
    for number, one in enumerate(data, 1):
        one.RescaleSlope, one.RescaleIntercept = number, 0
    expected = scan() * np.arange(1, 6)[:, None, None]
    np.testing.assert_array_equal(read_image(save(tmp_path, data)).array, expected.astype(np.float32))


def test_copies_of_slices_are_read_once_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = slices(scan())
    save(tmp_path / "series", [data[2]], ["copy"])
    image = read_image(save(tmp_path / "series", data))
    np.testing.assert_array_equal(image.array, scan())
    assert image.grid.mismatch(OBLIQUE) is None
    assert caplog.messages[0].endswith("1 slices occur twice and are read once")


def test_stored_as_enhanced_multiframe(tmp_path: Path) -> None:
    order = [4, 1, 0, 3, 2]
    frames = multiframe(slices(scan()), order)
    for z, group in zip(order, frames.PerFrameFunctionalGroupsSequence, strict=True):
        group.PixelValueTransformationSequence = [Dataset()]
        scale = group.PixelValueTransformationSequence[0]
        scale.RescaleSlope, scale.RescaleIntercept = 2, z
    image = read_image(save(tmp_path, [frames]))
    np.testing.assert_array_equal(image.array, scan() * 2 + np.arange(5)[:, None, None])
    assert image.grid.mismatch(OBLIQUE) is None
    del frames.PerFrameFunctionalGroupsSequence
    assert "has 5 frames without positions" in refusal(save(tmp_path, [frames]))


def gap(data: list[Dataset]) -> None:
    del data[2]


def uneven(data: list[Dataset]) -> None:
    data[1].ImagePositionPatient = [
        a + 0.4 * n for a, n in zip(data[1].ImagePositionPatient, normal(), strict=True)
    ]


def normal() -> list[float]:
    return OBLIQUE.cosines[:, 2].tolist()


def echoes(data: list[Dataset]) -> None:
    data[3].ImagePositionPatient = data[2].ImagePositionPatient


def tilted(data: list[Dataset]) -> None:
    for z, one in enumerate(data):
        shift = 0.6 * z * OBLIQUE.cosines[:, 1]
        one.ImagePositionPatient = [
            a + b for a, b in zip(one.ImagePositionPatient, shift.tolist(), strict=True)
        ]


def turned(data: list[Dataset]) -> None:
    data[4].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def cropped(data: list[Dataset]) -> None:
    data[4].Rows, data[4].PixelData = 4, data[4].PixelData[:80]


def without(keyword: str) -> Callable[[list[Dataset]], None]:
    return lambda data: delattr(data[1], keyword)


def having(keyword: str, value: Any) -> Callable[[list[Dataset]], None]:
    return lambda data: setattr(data[1], keyword, value)


def one_left(data: list[Dataset]) -> None:
    del data[1:]


def cut_short(data: list[Dataset]) -> None:
    data[1].PixelData = data[1].PixelData[:70]


REFUSED: dict[str, tuple[Callable[[list[Dataset]], None], str]] = {
    "a gap": (gap, "slices are missing: s1 and s3 are 6 mm apart, others 3 mm"),
    "uneven slices": (uneven, "its slices are 2.6 to 3.4 mm apart"),
    "two echoes": (echoes, "s2 and s3 lie at one depth and differ"),
    "gantry tilt": (tilted, "a sheared grid"),
    "orientations": (turned, "s4 differ in their orientation"),
    "sizes": (cropped, "differ in their rows and columns (8 10 and 4 10)"),
    "no spacing": (without("PixelSpacing"), "s1 has no PixelSpacing"),
    "no position": (without("ImagePositionPatient"), "s1 has no ImagePositionPatient"),
    "a spacing of zero": (having("PixelSpacing", [0, 1]), "PixelSpacing (s1) = 0.0 1.0"),
    "inverted greys": (having("PhotometricInterpretation", "MONOCHROME1"), "s1 holds colours or inverted"),
    "colours": (having("SamplesPerPixel", 3), "s1 holds colours"),
    "a table": (having("ModalityLUTSequence", [Dataset()]), "s1 scales its values by a table"),
    "one slice": (one_left, "two-dimensional"),
    "cut short": (cut_short, "cannot be read (s1: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_volume_is_refused(name: str, tmp_path: Path) -> None:
    change, said = REFUSED[name]
    data = slices(scan())
    names = [f"s{z}" for z in range(5)]
    numbered = dict(zip(map(id, data), names, strict=True))
    change(data)
    first = save(tmp_path, data, [numbered[id(one)] for one in data])
    assert said in refusal(first)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
    ],
)
def test_transfer_syntaxes(name: str, tmp_path: Path) -> None:
    """pydicom's own files of one slice, twice at different places."""
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    for number in (0, 1):
        data = pydicom.dcmread(get_testdata_file(name))
        data.ImagePositionPatient = [0, 0, float(number)]
        data.save_as(tmp_path / str(number))
    image = read_image(tmp_path / "0")
    np.testing.assert_array_equal(image.array, np.stack([plain, plain]))


@pytest.mark.parametrize(
    "name",
    ["JPEGLSNearLossless_16.dcm", "image_dfl.dcm", "JPEG2000.dcm", "MR_small_expb.dcm"],
)
def test_frames_are_those_that_simpleitk_decompresses(name: str) -> None:
    """Lossy ones too; none of these files scales its values."""
    file = get_testdata_file(name, download=False)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(file))
    np.testing.assert_array_equal(stored_values(Path(file)), expected.reshape(1, *expected.shape[-2:]))


def test_lossy_jpeg_of_12_bits_is_refused() -> None:
    with pytest.raises(FileFault, match=r"JPGExtended\.dcm is .*\(JPEG Extended .*; decompress it"):
        stored_values(Path(get_testdata_file("JPGExtended.dcm", download=False)))


def test_baseline_jpeg(tmp_path: Path) -> None:
    grey = np.add.outer(np.add.outer(20 * np.arange(5), 3 * np.arange(8)), 2 * np.arange(10)).astype(np.uint8)
    data = slices(grey)
    for one, values in zip(data, grey, strict=True):
        content = io.BytesIO()
        PIL.Image.fromarray(values).save(content, "jpeg", quality=100)
        one.PixelData = pydicom.encaps.encapsulate([content.getvalue()])
        one["PixelData"].VR = "OB"
        one.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    array = read_image(save(tmp_path, data)).array
    assert array.dtype == np.uint8 and np.abs(array.astype(int) - grey).max() <= 2


def test_lossless_jpeg(tmp_path: Path) -> None:
    """Written by SimpleITK."""
    for one, name in zip(slices(scan()), "abcde", strict=True):
        save(tmp_path, [one], [f"{name}.dcm"])
        file = str(tmp_path / f"{name}.dcm")
        writer = sitk.ImageFileWriter()
        writer.SetFileName(file)
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.ReadImage(file))
    assert pydicom.dcmread(file).file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").array, scan())


def test_a_syntax_that_nothing_decompresses_is_named(tmp_path: Path) -> None:
    data = slices(scan())
    for syntax, said in (
        (pydicom.uid.HTJ2KLossless, "pip install pylibjpeg"),
        (pydicom.uid.MPEG2MPML, "dcmdjpeg"),
    ):
        for one in data:
            one.PixelData = pydicom.encaps.encapsulate([bytes(100)])
            one["PixelData"].VR = "OB"
            one.file_meta.TransferSyntaxUID = syntax
        assert said in refusal(save(tmp_path, data))
