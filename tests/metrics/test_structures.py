"""Measurements of the structures of a label map, against phantoms of known shape."""

import numpy as np
import pytest

from kneeformer.geometry.affine import rotation
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.labels import LabelScheme
from kneeformer.metrics.mesh_distance import distances_to_mesh
from kneeformer.metrics.structures import measured_structures
from kneeformer.phantoms.knee import LABELS, make_knee, oblique_sagittal
from kneeformer.phantoms.knee_shape import Anatomy, knee_surfaces, to_knee

SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "femoral_cartilage": 2, "meniscus": 3})


def femur_above(grid: Grid) -> np.ndarray:
    """(z, y, x) mm below the surface of a femur of the phantom, sawn off at 45 mm."""
    anatomy = Anatomy.draw(np.random.default_rng(1))
    x, y, z = grid.voxel_centres().reshape(-1, 3).T.astype(np.float32)
    distance = knee_surfaces(to_knee((x, y, z), anatomy), anatomy)["femur"]
    return np.asarray(-np.maximum(distance, z - 45).reshape(grid.shape))


def sagittal(spacing: tuple[float, float, float], extent_mm: tuple[float, float, float]) -> Grid:
    """Slices from left to right around (0, 0, 20)."""
    x, z, y = (round(e / s) for e, s in zip(extent_mm, spacing, strict=True))
    grid = Grid.along_patient((x, z, y), spacing, "LSP")
    x0, y0, z0 = ([0, 0, 20] - grid.corners().mean(0)).tolist()
    return Grid(grid.shape, grid.spacing, (x0, y0, z0), grid.direction)


def test_a_femur_of_thick_slices_is_the_femur() -> None:
    extent = (120.0, 84.0, 100.0)
    fine, thick = sagittal((1.0, 1.0, 1.0), extent), sagittal((3.0, 0.5, 0.5), extent)
    true = surface_of(femur_above(fine), 0.0, fine)
    labels = (femur_above(thick) > 0).astype(np.uint8)
    (found, *_) = measured_structures(labels, thick, SCHEME)
    assert found.surface is not None and found.surface.is_watertight
    assert found.facts["volume_mm3"] == pytest.approx(true.signed_volume_mm3, rel=0.01)
    assert found.facts["surface_volume_mm3"] == pytest.approx(true.signed_volume_mm3, rel=0.01)
    assert found.facts["surface_area_mm2"] == pytest.approx(true.areas_mm2.sum(), rel=0.03)
    np.testing.assert_allclose(found.facts["centre_mm"], true.centre_of_volume, atol=0.05)
    off = distances_to_mesh(found.surface.vertices[::10], true)
    assert off.mean() < 0.15 and np.percentile(off, 97) < 0.75
    assert not found.facts["touches_border"]


@pytest.mark.parametrize(
    ("thickness_mm", "spacing"),
    [(2.0, (1.0, 1.0, 1.0)), (2.0, (3.0, 0.4, 0.4)), (3.0, (3.0, 0.4, 0.4)), (3.0, (0.7, 0.365, 0.365))],
)
def test_cartilage_on_a_ball_has_its_thickness(
    thickness_mm: float, spacing: tuple[float, float, float]
) -> None:
    z, y, x = (int(48 / s) + 9 for s in spacing)
    turned = rotation((25.0, -40.0, 10.0))
    grid = Grid((z, y, x), spacing, (10.0, 20.0, 30.0), tuple(turned.ravel().tolist()))
    points = grid.voxel_centres().reshape(-1, 3) - grid.corners().mean(0)
    radius = np.linalg.norm(points, axis=1).reshape(grid.shape)
    height = (points @ [0.6, 0.0, 0.8]).reshape(grid.shape)
    labels = (radius < 20).astype(np.uint8)
    labels[(radius >= 20) & (radius < 20 + thickness_mm) & (height > 8)] = 2
    bone, cartilage, meniscus = measured_structures(labels, grid, SCHEME)
    assert cartilage.facts["bone"] == "femur"
    assert cartilage.facts["mean_thickness_mm"] == pytest.approx(thickness_mm, rel=0.05)
    assert "mean_thickness_mm" not in bone.facts
    assert meniscus.surface is None and meniscus.facts == {"volume_mm3": 0.0, "touches_border": False}


def test_a_region_that_holds_cartilage_is_not_its_bone() -> None:
    labels = np.zeros((12, 9, 9), np.uint8)
    labels[:6], labels[6:9] = 1, 2
    scheme = LabelScheme.from_json({"background": 0, "knee": [1, 2], "femur": 1, "cartilage": 2}, [1, 1, 2])
    _, _, cartilage = measured_structures(labels, Grid(labels.shape, (1.0, 1.0, 1.0)), scheme)
    assert cartilage.facts["bone"] == "femur"
    assert cartilage.facts["mean_thickness_mm"] == pytest.approx(3, rel=0.05)


def test_cartilage_without_bone_has_no_thickness() -> None:
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[3:6, 2:7, :5] = 2
    _, cartilage, _ = measured_structures(labels, Grid(labels.shape, (1.0, 1.0, 1.0)), SCHEME)
    assert cartilage.facts["bone"] is None and cartilage.facts["mean_thickness_mm"] is None
    assert cartilage.facts["volume_mm3"] == 75 and cartilage.facts["touches_border"]


def test_regions_that_overlap_have_whole_surfaces() -> None:
    scheme = LabelScheme.from_json({"background": 0, "knee": [1, 2], "implant": [2]}, [1, 2])
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:7, 2:7, 2:7] = 1
    labels[4, 4, 4] = 2
    knee, implant = measured_structures(labels, Grid(labels.shape, (1.0, 1.0, 1.0)), scheme)
    assert knee.facts["volume_mm3"] == 125 and implant.facts["volume_mm3"] == 1
    assert knee.surface is not None and knee.surface.signed_volume_mm3 > 100


def test_surfaces_hold_the_volume_of_their_voxels_however_thin() -> None:
    """Cartilage of three voxels, oblique to thick slices."""
    shape, spacing = (24, 128, 128), (3.5, 1.0, 1.0)
    rng = np.random.default_rng(3)
    _, labels = make_knee(rng, shape, spacing)
    scheme = LabelScheme.from_json(LABELS)
    for measured in measured_structures(labels, oblique_sagittal(rng, shape, spacing), scheme):
        facts = measured.facts
        assert facts["surface_volume_mm3"] == pytest.approx(facts["volume_mm3"], rel=0.005), measured.name
