"""Segmentations as 3D Slicer writes and reads them."""

from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.formats.payload import gzip
from kneeformer.data.images import read_image
from kneeformer.data.segmentation_file import (
    Segment,
    read_segmentation,
    read_segments,
    write_label_map,
    write_segmentation,
)
from kneeformer.data.terminology import codes_of, colour_of
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme


def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.uint8)


def slicer_file(file: Path, layers: np.ndarray, space: str, fields: list[str]) -> Path:
    """Layers (n, z, y, x) as Slicer writes them: the list of layers is the fastest axis."""
    n, z, y, x = layers.shape
    header = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "type: unsigned char",
        "dimension: 4",
        f"space: {space}",
        f"sizes: {n} {x} {y} {z}",
        "space directions: none (0.5,0,0) (0,0,-0.5) (0,3,0)",
        "kinds: list domain domain domain",
        "encoding: gzip",
        "space origin: (1,2,3)",
        *fields,
    ]
    voxels = np.ascontiguousarray(layers.transpose(1, 2, 3, 0)).tobytes()
    file.write_bytes("\n".join(header).encode() + b"\n\n" + gzip(voxels, np.dtype(np.uint8)))
    return file


def test_names_values_colours_and_geometry_come_back(tmp_path: Path, oblique: Grid) -> None:
    segments = [
        Segment("Fémur", 1, 0, (0.1, 0.25, 1.0), "a~SCT^1^b~SCT^2^c~^^~d~^^~^^"),
        Segment("tibia", 3, 0, (1.0, 0.0, 0.5), "a~SCT^1^b~SCT^3^c~^^~d~^^~^^"),
    ]
    write_segmentation(tmp_path / "a.seg.nrrd", labels(), oblique, segments)
    found = read_segmentation(tmp_path / "a.seg.nrrd")
    assert list(found.segments) == segments
    np.testing.assert_array_equal(found.layers, labels()[None])
    np.testing.assert_array_equal(found.mask(segments[1]), labels() == 3)
    assert found.grid.mismatch(oblique) is None
    np.testing.assert_array_equal(read_image(tmp_path / "a.seg.nrrd").array, labels())


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_layers_of_overlapping_segments_in_a_left_handed_space(tmp_path: Path, space: str) -> None:
    layers = np.stack([labels() > 1, labels() > 2]).astype(np.uint8)
    fields = ["Segment0_LabelValue:=1", "Segment0_Layer:=0", "Segment0_Name:=femur"]
    fields += ["Segment1_LabelValue:=1", "Segment1_Layer:=1", "Segment1_Name:=screw"]
    fields += ["Segment1_Color:=0.5 0.25 1", "Segment1_Tags:=Segmentation.Status:done|TerminologyEntry:x~y|"]
    found = read_segmentation(slicer_file(tmp_path / "a.seg.nrrd", layers, space, fields))
    femur, screw = found.segments
    assert (screw.layer, screw.colour, screw.terminology) == (1, (0.5, 0.25, 1.0), "x~y")
    np.testing.assert_array_equal(found.mask(femur), labels() > 1)
    np.testing.assert_array_equal(found.mask(screw), labels() > 2)
    sign = 1 if space == "left-posterior-superior" else -1
    assert found.grid.origin == (sign * 1.0, sign * 2.0, 3.0) and found.grid.spacing == (3, 0.5, 0.5)
    np.testing.assert_array_equal(found.grid.cosines, [[sign, 0, 0], [0, 0, sign], [0, -1, 0]])


def test_segments_without_value_and_layer_are_a_layer_each(tmp_path: Path) -> None:
    """As Slicer wrote them before 4.11."""
    layers = np.stack([labels() > 1, labels() > 2]).astype(np.uint8)
    fields = ["Segment0_ID:=a", "Segment0_Name:=femur", "Segment1_ID:=b", "Segment1_Name:=screw"]
    fields += ["Segment2_Name:=odd", "Segment2_LabelValue:=many"]
    found = read_segmentation(slicer_file(tmp_path / "a.seg.nrrd", layers, "left-posterior-superior", fields))
    assert [(s.name, s.value, s.layer) for s in found.segments] == [("femur", 1, 0), ("screw", 1, 1)]
    np.testing.assert_array_equal(found.mask(found.segments[1]), labels() > 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("Left_Femur", "Femur"), ("tibia", "Tibia"), ("patella.", "Patella"), ("Fibula", "Fibula")),
        *(("femoral cartilage", "Cartilage"), ("femur cartilage", "Cartilage"), ("Menisci", "Meniscus")),
        *(("patellar ligament", "Ligament"), ("tibialis muscle", "Muscle"), ("bone", "Bone")),
        *(("patellar tendon", "Tissue"), ("tibial nerve", "Tissue"), ("bone marrow lesion", "Tissue")),
    ],
)
def test_types_are_told_from_names(name: str, kind: str) -> None:
    assert codes_of(name)[1].meaning == kind


def test_a_file_without_segments_or_with_fractions_is_refused(tmp_path: Path, oblique: Grid) -> None:
    write_segmentation(tmp_path / "none.nrrd", labels(), oblique, [])
    write_segmentation(tmp_path / "half.nrrd", labels() / 2, oblique, [Segment("femur", 1)])
    with pytest.raises(KneeformerError, match="names no segments"):
        read_segmentation(tmp_path / "none.nrrd")
    with pytest.raises(KneeformerError, match="not whole numbers"):
        read_segmentation(tmp_path / "half.nrrd")


def test_label_maps_name_their_structures_in_nrrd_alone(tmp_path: Path, oblique: Grid) -> None:
    scheme = LabelScheme.from_json({"background": 0, "femur": 1, "femoral_cartilage": 2, "meniscus": 3})
    for ending in (".nrrd", ".seg.nrrd", ".nii.gz"):
        write_label_map(tmp_path / f"a{ending}", labels(), oblique, scheme)
        np.testing.assert_array_equal(read_image(tmp_path / f"a{ending}").array, labels())
    femur, cartilage, _ = read_segments(tmp_path / "a.nrrd")
    assert (femur.name, femur.value, cartilage.name, cartilage.value) == ("femur", 1, "femoral_cartilage", 2)
    assert femur.colour == pytest.approx(colour_of("femur", 0)) and femur.colour != cartilage.colour
    assert femur.terminology is not None and "SCT^71341001^Femur" in femur.terminology
    assert cartilage.terminology is not None and "SCT^309312004^Cartilage" in cartilage.terminology
    assert read_segments(tmp_path / "a.nii.gz") == []
