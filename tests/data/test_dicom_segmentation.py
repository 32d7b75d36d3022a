"""DICOM SEG out and in: voxels, geometry, names, codes and references are those of the scan's."""

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, multiframe, save, scan, slices

from kneeformer.data.dicom_folder import dicom_folder
from kneeformer.data.dicom_segmentation import (
    read_dicom_segmentation,
    read_dicom_segments,
    reference_problems,
    write_dicom_segmentation,
)
from kneeformer.data.images import read_image
from kneeformer.data.terminology import colour_of
from kneeformer.errors import KneeformerError
from kneeformer.geometry.regrid import pasted, whole_shift
from kneeformer.labels import LabelScheme

SCHEME = LabelScheme.from_json({"background": 0, "Femur": 3, "femoral cartilage": 1, "meniscus": 7})


def labels() -> np.ndarray:
    """Femur in slices 1 to 3, cartilage in slice 2; no meniscus."""
    array = np.zeros(OBLIQUE.shape, np.uint8)
    array[1:4, 2:5, 3:9], array[2, 5:7, 3:8] = 3, 1
    return array


@pytest.fixture(params=["slices", "multi-frame"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    data = slices(scan())
    return save(
        tmp_path / "scan", data[::-1] if request.param == "slices" else [multiframe(data, [4, 1, 0, 3, 2])]
    )


def test_another_reader_finds_voxels_and_geometry(series: Path, tmp_path: Path) -> None:
    """highdicom's own volume of the file, against the label map."""
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "Knee 3d_vit", "1")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    volume = seg.get_volume(combine_segments=True, segment_numbers=[1, 2])
    to_index = read_image(series).grid.to_index() @ volume.affine
    whole = np.zeros(OBLIQUE.shape, np.uint8)
    for k, values in enumerate(volume.array):
        first, last = (to_index @ [k, *corner, 1] for corner in ((0, 0), (7, 9)))
        np.testing.assert_allclose(first[1:3], 0, atol=1e-3)
        np.testing.assert_allclose(last[:3] - first[:3], (0, 7, 9), atol=1e-3)
        whole[round(first[0])] = values
    np.testing.assert_array_equal(whole, np.choose(labels(), [0, 2, 0, 1, 0, 0, 0, 0]))


def test_names_codes_colours_and_references(series: Path, tmp_path: Path) -> None:
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "Knee 3d_vit", "1")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [seg.get_segment_description(n).segment_label for n in (1, 2, 3)] == list(SCHEME.names)
    femur, cartilage = (seg.get_segment_description(n) for n in (1, 2))
    assert (femur.segmented_property_type.value, femur.segmented_property_type.scheme_designator) == (
        "71341001",
        "SCT",
    )
    assert cartilage.segmented_property_category.meaning == "Tissue"
    assert cartilage.segmented_property_type.meaning == "Cartilage"
    scanned = {pydicom.dcmread(f).SOPInstanceUID for f in series.parent.iterdir()}
    assert {uid for _, _, uid in seg.get_source_image_uids()} <= scanned
    assert seg.FrameOfReferenceUID == pydicom.dcmread(series).FrameOfReferenceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == pydicom.dcmread(series).SeriesInstanceUID
    segments = read_dicom_segments(tmp_path / "seg.dcm")
    assert [(s.name, s.value) for s in segments] == [("Femur", 1), ("femoral cartilage", 2), ("meniscus", 3)]
    assert segments[1].colour == pytest.approx(colour_of("cartilage", 0), abs=0.005)


def test_what_is_read_lies_in_the_scan_as_it_was(series: Path, tmp_path: Path) -> None:
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "Knee 3d_vit", "1")
    found, grid = read_dicom_segmentation(tmp_path / "seg.dcm"), read_image(series).grid
    first = whole_shift(found.grid, grid)
    assert first == (1, 0, 0)
    for segment, value in zip(found.segments, (3, 1, 7), strict=True):
        np.testing.assert_array_equal(pasted(found.mask(segment), first, grid), labels() == value)


def test_the_voxels_of_the_scan_are_not_read_again(tmp_path: Path) -> None:
    series = save(tmp_path / "scan", slices(scan()))
    for file in series.parent.iterdir():
        header = pydicom.dcmread(file)
        del header.PixelData
        header.save_as(file)
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "Knee 3d_vit", "1")
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == 4


def test_slices_that_are_empty_between_others(tmp_path: Path) -> None:
    """Their frames are left out; the distance of the slices is not that of the frames."""
    apart = np.zeros(OBLIQUE.shape, np.uint8)
    apart[0, 2, 3] = apart[4, 2, 3] = 3
    series = save(tmp_path / "scan", slices(scan()))
    write_dicom_segmentation(tmp_path / "seg.dcm", apart, series, SCHEME, "m", "1")
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == 2
    found = read_dicom_segmentation(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(found.mask(found.segments[0]), apart == 3)


def test_a_labelmap_of_another_program_is_read_without_its_background(tmp_path: Path) -> None:
    series = save(tmp_path / "scan", slices(scan()))
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "m", "1")
    whole = highdicom.seg.segread(tmp_path / "seg.dcm")
    made = highdicom.seg.Segmentation(
        [complete(file) for file in sorted(series.parent.iterdir(), key=depth)],
        np.choose(labels(), [0, 2, 0, 1]).astype(np.uint8),
        "LABELMAP",
        [whole.get_segment_description(n) for n in (1, 2)],
        *(highdicom.UID(), 9, highdicom.UID(), 1, "other", "m", "1", "0"),
    )
    made.save_as(tmp_path / "labelmap.dcm")
    found = read_dicom_segmentation(tmp_path / "labelmap.dcm")
    assert [(s.name, s.value) for s in found.segments] == [("Femur", 1), ("femoral cartilage", 2)]
    first = whole_shift(found.grid, OBLIQUE)
    assert first is not None
    for segment, value in zip(found.segments, (3, 1), strict=True):
        np.testing.assert_array_equal(pasted(found.mask(segment), first, OBLIQUE), labels() == value)


def complete(file: Path) -> pydicom.Dataset:
    data = pydicom.dcmread(file)
    data.SliceThickness = data.SpacingBetweenSlices = 3.0
    return data


def depth(file: Path) -> float:
    return float(OBLIQUE.cosines[:, 2] @ pydicom.dcmread(file).ImagePositionPatient)


def test_a_label_map_without_a_structure_is_written(tmp_path: Path) -> None:
    series = save(tmp_path / "scan", slices(scan()))
    write_dicom_segmentation(tmp_path / "seg.dcm", labels() * 0, series, SCHEME, "m", "1")
    assert not read_dicom_segmentation(tmp_path / "seg.dcm").layers.any()


def test_anonymous_headers_are_enough_and_a_frame_of_reference_is_needed(tmp_path: Path) -> None:
    removed = dict.fromkeys(
        (
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
        )
    )
    series = save(tmp_path / "scan", slices(scan(), **removed))
    assert reference_problems(series) == []
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "m", "1")
    other = save(tmp_path / "other", slices(scan(), FrameOfReferenceUID=None))
    assert "no FrameOfReferenceUID, which DICOM SEG needs" in reference_problems(other)[0]


def test_a_segmentation_belongs_to_its_series(series: Path, tmp_path: Path) -> None:
    write_dicom_segmentation(tmp_path / "seg.dcm", labels(), series, SCHEME, "m", "1")
    found = dicom_folder(tmp_path)
    assert found.segmentations == {found.series[0].uid: [tmp_path / "seg.dcm"]}
    assert len(found.series) == 1 and not found.ignored


def test_a_scan_is_no_segmentation(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="do not name their segments"):
        read_dicom_segmentation(save(tmp_path, slices(scan())))
