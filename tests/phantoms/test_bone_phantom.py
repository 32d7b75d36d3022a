"""The bone phantom: a surface and poses known exactly, sound fractures, and a dataset like any other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import Image, read_image
from kneeformer.geometry.affine import Affine, transformed
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.phantoms.bone import (
    LABELS,
    completion_mask,
    oblique_axial,
    scan_bone,
    write_bone_dataset,
)
from kneeformer.phantoms.bone_shape import BoneAnatomy, Fracture, draw_pose, scale_of

pytestmark = pytest.mark.slow

SPACING_MM, COARSE_MM = (1.5, 1.5, 1.5), (2.5, 2.5, 2.5)  # of one bone, and of those in a dataset


def draw(seed: int, left: bool = False) -> tuple[BoneAnatomy, Affine, Grid]:
    rng = np.random.default_rng(seed)
    anatomy, pose = BoneAnatomy.draw(rng, left), draw_pose(rng)
    return anatomy, pose, oblique_axial(anatomy, pose, rng, SPACING_MM)


def scan(seed: int, fracture: Fracture | None = None) -> tuple[np.ndarray, np.ndarray]:
    return scan_bone(*draw(seed), np.random.default_rng(100), fracture)


def surface_points(anatomy: BoneAnatomy, pose: Affine) -> np.ndarray:
    """(n, 3) points of the posed surface, found along random rays from its middle, away from the cut."""
    directions = np.random.default_rng(0).standard_normal((2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    near, far = np.zeros((2000, 1)), np.full((2000, 1), 120.0)
    for _ in range(40):
        middle = (near + far) / 2
        inside = (anatomy.signed_distance(directions * middle) < 0)[:, None]
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    points = directions * near
    return transformed(points[points[:, 2] > 1 - anatomy.height_mm / 2], pose)


def edge_points(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """(n, 3) patient coordinates of the bone's outermost voxels."""
    return np.asarray(grid.voxel_centres()[(mask > 0) & ~ndimage.binary_erosion(mask > 0)])


@pytest.mark.parametrize("seed", range(4))
def test_distance_is_a_distance_near_the_surface(seed: int) -> None:
    anatomy, _, _ = draw(seed)
    cut = -anatomy.height_mm / 2
    points = np.random.default_rng(seed).uniform((-50, -45, cut + 3), (50, 45, 60), (10**5, 3))
    points = points[np.abs(anatomy.signed_distance(points)) < 2]
    steps = 0.01 * np.eye(3)
    rise = [anatomy.signed_distance(points + s) - anatomy.signed_distance(points - s) for s in steps]
    slope = np.linalg.norm(rise, axis=0) / 0.02
    assert ((slope > 0.7) & (slope < 1.3)).mean() > 0.99
    close = slope[np.abs(anatomy.signed_distance(points)) < 0.5]
    assert len(close) > 1000
    assert 0.7 < close.min() <= close.max() < 1.3


def test_bones_are_tibias_in_one_piece() -> None:
    for seed in range(4):
        anatomy, pose, grid = draw(seed)
        _, mask = scan(seed)
        assert 80e3 < mask.sum() * np.prod(SPACING_MM) / scale_of(pose) ** 3 < 190e3
        assert ndimage.label(mask)[1] == 1
        bone = transformed(grid.voxel_centres()[mask > 0], np.linalg.inv(pose))
        depth_mm = anatomy.height_mm / 2 - bone[:, 2]
        top, shaft = bone[depth_mm < 14], bone[depth_mm > anatomy.height_mm - 4]
        assert np.ptp(top[:, 0]) > 1.25 * np.ptp(top[:, 1])  # wider than long, mm
        assert np.ptp(top[:, 0]) > 2 * np.ptp(shaft[:, 0])
        assert top[:, 1].max() > shaft[:, 1].max() + 8  # the plateau overhangs backwards
        middle = bone[np.abs(depth_mm - 42) < 8]
        assert middle[:, 1].min() < shaft[:, 1].min() - 2  # the tuberosity stands out in front


def test_volume_grows_with_the_cube_of_the_scale() -> None:
    anatomy, pose, _ = draw(1)
    volumes = []
    for scale in (0.9, 1.1):
        scaled = pose.copy()
        scaled[:3, :3] *= scale / scale_of(pose)
        assert scale_of(scaled) == pytest.approx(scale)
        rng = np.random.default_rng(0)
        _, mask = scan_bone(anatomy, scaled, oblique_axial(anatomy, scaled, rng, SPACING_MM), rng)
        volumes.append(mask.sum() / scale**3)
    assert volumes[0] == pytest.approx(volumes[1], rel=0.005)


def test_poses_are_bounded_similarities() -> None:
    for seed in range(20):
        pose = draw_pose(np.random.default_rng(seed))
        turn = pose[:3, :3] / scale_of(pose)
        assert 0.9 <= scale_of(pose) <= 1.1
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(np.linalg.inv(pose) @ pose, np.eye(4), atol=1e-12)
        assert np.abs(Rotation.from_matrix(turn).as_euler("xyz", degrees=True)).max() <= 15


def test_two_scans_of_one_bone_agree_in_the_bone_frame() -> None:
    anatomy, first, first_grid = draw(2)
    rng = np.random.default_rng(9)
    second = draw_pose(rng)
    edges = []
    for pose, grid in ((first, first_grid), (second, oblique_axial(anatomy, second, rng, SPACING_MM))):
        _, mask = scan_bone(anatomy, pose, grid, rng)
        in_bone = transformed(edge_points(mask, grid), np.linalg.inv(pose))
        away_mm = anatomy.signed_distance(in_bone) * scale_of(pose)
        assert abs(np.median(away_mm)) < SPACING_MM[0]
        edges.append(in_bone)
    for here, there in (edges, edges[::-1]):
        gaps_mm, _ = cKDTree(here).query(there)
        assert np.percentile(gaps_mm, 95) < SPACING_MM[0]
        assert gaps_mm.max() < 2 * SPACING_MM[0]


@pytest.mark.parametrize("left", [False, True])
def test_posed_surface_is_where_the_mask_ends(left: bool) -> None:
    anatomy, pose, grid = draw(3, left)
    points = surface_points(anatomy, pose)
    assert len(points) > 1500
    assert np.abs(anatomy.signed_distance(transformed(points, np.linalg.inv(pose)))).max() < 1e-6
    _, mask = scan_bone(anatomy, pose, grid, np.random.default_rng(0))
    cosines = np.reshape(grid.direction, (3, 3))
    index = ((points - grid.origin) @ cosines / grid.spacing[::-1])[:, ::-1]
    occupied = ndimage.map_coordinates(mask.astype(np.float32), index.T, order=1)
    assert occupied.min() < 0.2 and occupied.max() > 0.8
    assert np.abs(occupied.mean() - 0.5) < 0.05
    assert index.min() > 5 and (index.max(axis=0) < np.subtract(grid.shape, 6)).all()  # none is cut off


def test_left_bone_is_the_mirror_image() -> None:
    right, _, _ = draw(4)
    left = replace(right, left=True)
    points = np.random.default_rng(0).uniform(-50, 50, (5000, 3))
    assert np.array_equal(left.signed_distance(points * (-1, 1, 1)), right.signed_distance(points))
    assert not np.allclose(left.signed_distance(points), right.signed_distance(points), atol=0.5)
    assert draw(4, left=True)[0] == left
    grid = Grid((60, 60, 60), (2.0, 2.0, 2.0), (-59.0, -59.0, -59.0))
    masks = [scan_bone(bone, np.eye(4), grid, np.random.default_rng(0))[1] for bone in (right, left)]
    assert np.array_equal(masks[0], masks[1][:, :, ::-1])


def test_grid_is_oblique_axial() -> None:
    _, _, grid = draw(5)
    cosines = np.reshape(grid.direction, (3, 3))
    np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-12)
    assert grid.orientation()[2] in "LR"
    assert 0.98 < np.diag(cosines).min() < 1
    points = grid.voxel_centres()
    depth, rows, columns = grid.shape
    corners = points[:: depth - 1, :: rows - 1, :: columns - 1].swapaxes(0, 2).reshape(-1, 3)
    np.testing.assert_allclose(corners, grid.corners())


def test_tissues_have_the_values_of_ct() -> None:
    anatomy, pose, grid = draw(0)
    ct, mask = scan(0)
    assert ct.dtype == np.int16
    assert mask.dtype == np.uint8
    assert ct.shape == mask.shape == grid.shape
    in_bone = transformed(grid.voxel_centres(), np.linalg.inv(pose))
    depth_mm = anatomy.signed_distance(in_bone) * scale_of(pose)
    shell = np.median(ct[(depth_mm < -0.7) & (depth_mm > -1.3)])
    spongy = ct[depth_mm < -8]
    assert 900 < shell < 1400
    assert 120 < spongy.mean() < 320
    assert 20 < spongy.std() < 90
    assert 20 < np.median(ct[(depth_mm > 3) & (depth_mm < 6)]) < 70
    assert ct.min() < -950
    assert ((ct > -130) & (ct < -70)).mean() > 0.01  # fat


def test_equal_states_give_equal_scans() -> None:
    first, again, other = scan(1), scan(1), scan(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape != other[0].shape or not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("seed", range(4))
def test_fracture_moves_a_fragment_within_its_region(seed: int) -> None:
    _, _, grid = draw(seed)
    healthy_ct, healthy = scan(seed)
    fracture = Fracture.draw(healthy, grid, np.random.default_rng(seed))
    points = grid.voxel_centres()
    region, fragment = fracture.region(points), fracture.fragment(points) & (healthy > 0)
    broken_ct, broken = scan(seed, fracture)
    away = np.linalg.norm(points - fracture.centre_mm, axis=-1)
    assert healthy[away == away.min()].all()
    assert region[away < 14].all() and not region[away > 26].any()
    assert fragment.sum() > 50 and region[fragment].all()
    assert region[healthy != broken].all()
    assert (healthy != broken).sum() > 50
    assert broken[(healthy > 0) & ~fragment].all()
    far = ~ndimage.binary_dilation(region, iterations=4)
    assert np.array_equal(healthy_ct[far], broken_ct[far])
    arrived = fracture.before(points[broken > healthy])
    assert fracture.fragment(arrived).all()


def test_completion_mask_tells_what_to_keep_from_where_to_complete() -> None:
    _, _, grid = draw(1)
    _, healthy = scan(1)
    fracture = Fracture.draw(healthy, grid, np.random.default_rng(1))
    mask = completion_mask(healthy, grid, fracture)
    region = fracture.region(grid.voxel_centres())
    assert np.array_equal(mask == COMPLETE, region)
    assert np.array_equal(mask == KEEP, (healthy > 0) & ~region)
    assert (mask == KEEP).sum() > 0.5 * healthy.sum()


def test_a_fracture_needs_a_bone() -> None:
    empty = Grid((4, 4, 4), SPACING_MM)
    with pytest.raises(ValueError, match="no bone"):
        Fracture.draw(np.zeros(empty.shape, np.uint8), empty, np.random.default_rng(0))


# ---- datasets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("raw") / "Dataset998_Tibia"
    write_bone_dataset(folder, cases=3, seed=7, test=2, spacing_mm=COARSE_MM)
    return Dataset.open(folder)


def images(dataset: Dataset, case: str) -> dict[str, Image]:
    """The files of a case by the name of their folder."""
    return {p.parent.name: read_image(p) for p in sorted(dataset.folder.glob(f"*/{case}*.nrrd"))}


def test_dataset_opens_with_all_its_files(dataset: Dataset) -> None:
    assert dataset.description.task == "completion"
    assert dataset.description.channels == ("CT",)
    assert dataset.description.scheme.names == tuple(LABELS)[1:]
    training = dataset.training_cases()
    assert [c.name for c in training] == ["phantom01_R", "phantom02_L", "phantom03_R"]
    assert len({dataset.description.subject(c.name) for c in training}) == 3
    assert all(file.is_file() for case in training for file in case.files)
    for case in ("phantom04_R", "phantom05_L"):
        assert set(images(dataset, case)) == {"imagesTs", "labelsTs", "masksTs", "truthTs"}


def test_files_of_a_case_share_their_geometry(dataset: Dataset) -> None:
    poses = json.loads((dataset.folder / "poses.json").read_text())
    assert len(poses) == 5
    for case in poses:
        first, *others = (image.grid for image in images(dataset, case).values())
        assert others
        assert all(first.mismatch(other) is None for other in others)


def test_stored_poses_carry_the_bone_into_the_scan(dataset: Dataset) -> None:
    poses = json.loads((dataset.folder / "poses.json").read_text())
    for number, case in enumerate(dataset.training_cases()):
        image = images(dataset, case.name)["labelsTr"]
        rng = np.random.default_rng([7, 0, number])
        anatomy = BoneAnatomy.draw(rng, left=case.name.endswith("_L"))
        in_bone = transformed(image.grid.voxel_centres(), np.linalg.inv(poses[case.name]))
        differ = (anatomy.signed_distance(in_bone) < 0) != (image.array > 0)
        assert differ.mean() < 1e-6  # the header of a file rounds directions


def test_broken_case_is_the_healthy_one_but_for_the_region(dataset: Dataset) -> None:
    case = images(dataset, "phantom04_R")
    mask, healthy = case["masksTs"].array, case["labelsTs"].array
    assert set(np.unique(mask)) == {0, KEEP, COMPLETE}
    assert healthy[mask == KEEP].all()
    assert (mask[healthy > 0] > 0).all()
    changed = case["imagesTs"].array != case["truthTs"].array
    assert changed[mask == COMPLETE].mean() > 0.02
    assert not changed[~ndimage.binary_dilation(mask == COMPLETE, iterations=4)].any()


def test_more_cases_leave_the_first_as_they_were(dataset: Dataset, tmp_path: Path) -> None:
    seen: list[str] = []
    write_bone_dataset(tmp_path, cases=1, seed=7, test=1, spacing_mm=COARSE_MM, progress=seen.append)
    assert seen == ["phantom01_R", "phantom02_R"]
    for one, same in (("phantom01_R", "phantom01_R"), ("phantom02_R", "phantom04_R")):
        few, many = images(Dataset.open(tmp_path), one), images(dataset, same)
        assert few.keys() == many.keys()
        for folder, image in few.items():
            assert np.array_equal(image.array, many[folder].array), folder
            assert image.grid == many[folder].grid
