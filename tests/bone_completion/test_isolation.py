"""A bone isolated by its mask: where it lies, how far its surface is, and what of that is known."""

import numpy as np
import pytest
import torch

from kneeformer.errors import KneeformerError
from kneeformer.geometry.affine import rotation
from kneeformer.geometry.components import without_small_components
from kneeformer.geometry.grid import Grid, points_from_middle
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.shape_models.pose import Pose
from kneeformer.tasks.bone_completion.bone_orientation import Found
from kneeformer.tasks.bone_completion.isolation import (
    Bone,
    Outline,
    frame,
    isolate,
    signed_distance,
)
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

RADIUS = 14.0
CENTRE = np.array([-30.0, 45.0, 700.0])  # patient (x, y, z)
SETTINGS = BoneGridSettings(folder="test", spacing=(1.5,) * 3, grid=(32, 40, 36))
TURN = rotation((20, -35, 50))
MIRROR = np.diag([1.0, -1.0, 1.0])  # left-handed
GRIDS = {
    "plain": ((1.0, 1.0, 1.0), np.eye(3)),
    "oblique": ((1.1, 0.8, 0.9), TURN),
    "thick slices": ((3.0, 0.6, 0.6), TURN),
    "left-handed": ((1.2, 0.9, 1.0), TURN @ MIRROR),
    "sagittal": ((2.0, 0.7, 0.7), np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])),
}


def geometry(name: str = "plain", half_mm: float = 24.0) -> Grid:
    """A grid whose middle is CENTRE."""
    spacing, cosines = GRIDS[name]
    z, y, x = (2 * round(half_mm / s) + 1 for s in spacing)
    first = CENTRE - cosines @ [(n - 1) / 2 * s for n, s in zip((x, y, z), spacing[::-1], strict=True)]
    origin = (float(first[0]), float(first[1]), float(first[2]))
    return Grid((z, y, x), spacing, origin, tuple(cosines.ravel().tolist()))


def patient_points(where: Grid) -> np.ndarray:
    """(z, y, x, 3) patient coordinates of voxels."""
    matrix = where.to_patient()
    return np.asarray(np.moveaxis(np.indices(where.shape), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3])


def from_middle(where: Grid, centre: np.ndarray = CENTRE) -> np.ndarray:
    return np.asarray(np.linalg.norm(patient_points(where) - centre, axis=-1))


def ball(where: Grid) -> np.ndarray:
    return np.where(from_middle(where) < RADIUS, KEEP, 0).astype(np.uint8)


def bone_of(where: Grid, mask: np.ndarray, mirrored: bool = False) -> Bone:
    ct = np.full(where.shape, 650, np.int16)
    return isolate(ct, mask, where, SETTINGS, mirrored)


def places(bone: Bone) -> np.ndarray:
    """(z, y, x, 3) patient coordinates of the voxels of a bone's grid."""
    points = np.moveaxis(points_from_middle(SETTINGS.grid, SETTINGS.spacing), 0, -1)
    return np.asarray(points @ bone.to_patient[:3, :3].T + bone.to_patient[:3, 3])


def error(bone: Bone) -> np.ndarray:
    """Stored distance less the true one to the whole ball."""
    return np.asarray(bone.image[1] - (np.linalg.norm(places(bone) - CENTRE, axis=-1) - RADIUS))


# ---- distances


def test_distances_of_a_box_are_half_a_voxel_less_than_between_voxels() -> None:
    mask = np.zeros((3, 7, 9), bool)
    mask[1, 1:6, 2:7] = True
    distance = signed_distance(mask, (5.0, 1.0, 2.0))
    assert distance.dtype == np.float32
    assert distance[1, 3].tolist() == [3.0, 1.0, -1.0, -2.5, -2.5, -2.5, -1.0, 1.0, 3.0]
    assert distance[1, :, 4].tolist() == [0.5, -0.5, -1.5, -2.5, -1.5, -0.5, 0.5]
    assert distance[:, 3, 4].tolist() == [2.5, -2.5, 2.5]
    assert np.array_equal(distance < 0, mask)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 0.5), (0.6, 2.0, 1.1)])
def test_the_sign_of_a_distance_is_the_mask(spacing: tuple[float, float, float]) -> None:
    mask = np.random.default_rng(0).random((9, 11, 10)) < 0.4
    assert np.array_equal(signed_distance(mask, spacing) < 0, mask)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_on_any_grid(name: str, mirrored: bool) -> None:
    where = geometry(name)
    bone = bone_of(where, ball(where), mirrored)
    assert bone.image.shape == (2, *SETTINGS.grid) and bone.image.dtype == np.float32
    assert np.allclose(bone.to_patient[:3, 3], CENTRE, atol=0.05)
    near = np.abs(bone.image[1]) < 6
    assert near.sum() > 5000
    assert np.abs(error(bone))[near].max() < 0.8 * max(where.spacing)
    assert np.median(np.abs(error(bone))[near]) < 0.25 * max(where.spacing)
    assert abs(error(bone)[near].mean()) < 0.15
    assert bone.known[np.abs(bone.image[1]) < 5].all()


def test_beyond_what_is_measured_distances_go_on() -> None:
    where = geometry(half_mm=16.0)
    bone = bone_of(where, ball(where))
    true = np.linalg.norm(places(bone) - CENTRE, axis=-1) - RADIUS
    assert true.max() > 25
    assert (np.abs(bone.image[1] - true) < 0.6 + 0.5 * true.clip(min=0)).all()
    assert (bone.image[1][true > 1] > 0).all()
    outside = (np.abs(places(bone) - CENTRE) > 16.5).any(-1)
    assert outside.any() and not bone.known[outside].any()


# ---- CT


def test_ct_is_scaled_in_the_bone_and_0_around_it() -> None:
    where = geometry("oblique")
    bone = bone_of(where, ball(where))
    assert np.allclose(bone.image[0][bone.image[1] < 0], 0.5)  # 650 HU of -200 to 1500
    assert (bone.image[0][bone.image[1] >= 0] == 0).all()


def test_ct_lies_where_the_patient_has_it() -> None:
    where = geometry("left-handed")
    ct = 20 * (patient_points(where) - CENTRE)[..., 2] + 650
    bone = isolate(ct, ball(where), where, SETTINGS)
    inner = bone.image[1] < -2
    wanted = (20 * (places(bone) - CENTRE)[..., 2] + 850) / 1700
    assert np.abs(bone.image[0] - wanted)[inner].max() < 1e-3


# ---- places


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_grid_lies_along_the_patient_around_the_centroid(mirrored: bool) -> None:
    where = geometry("oblique")
    bone = bone_of(where, ball(where), mirrored)
    assert np.allclose(bone.to_patient[:3, 3], patient_points(where)[ball(where) > 0].mean(0), atol=1e-9)
    ahead = bone.to_patient @ [1.0, 10.0, 100.0, 0.0]  # mm (z, y, x)
    assert ahead.tolist() == [-100.0 if mirrored else 100.0, 10.0, 1.0, 0.0]
    points = np.random.default_rng(0).uniform(-50, 50, (100, 3)) @ bone.to_patient[:3, :3].T
    points += bone.to_patient[:3, 3]
    back = np.linalg.inv(bone.to_patient)
    there = points @ back[:3, :3].T + back[:3, 3]
    assert np.abs(there @ bone.to_patient[:3, :3].T + bone.to_patient[:3, 3] - points).max() < 1e-9


def test_mirrored_left_and_right_change_places() -> None:
    where = geometry("plain")
    mask = ball(where)
    mask[np.linalg.norm(patient_points(where) - np.add(CENTRE, [12, 0, 0]), axis=-1) < 9] = (
        KEEP  # a knob, left
    )
    plain, mirrored = bone_of(where, mask), bone_of(where, mask, mirrored=True)
    assert np.abs(plain.image[:, :, :, ::-1] - mirrored.image).max() < 1e-5
    assert np.array_equal(plain.known[:, :, ::-1], mirrored.known)
    half = SETTINGS.grid[2] // 2
    assert (plain.image[1] < 0)[:, :, half:].sum() < (plain.image[1] < 0)[:, :, :half].sum()
    tip = np.array([0.0, 0.0, 18.0])  # mm (z, y, x) from the ball's middle: left in the patient
    offset = plain.to_patient[:3, 3] - CENTRE
    for bone, sign in ((plain, 1), (mirrored, -1)):
        index = (tip - offset[::-1]) * [1, 1, sign] / SETTINGS.spacing + (np.array(SETTINGS.grid) - 1) / 2
        z, y, x = np.rint(index).astype(int)
        assert bone.image[1, z, y, x] < 0 < bone.image[1, z, y, -1 - x]


# ---- what is known


@pytest.mark.parametrize("name", GRIDS)
def test_nothing_is_known_in_the_region_nor_nearer_to_it_than_to_the_bone(name: str) -> None:
    where = geometry(name)
    mask = ball(where)
    middle, radius = np.add(CENTRE, [6.0, 8.0, 6.0]), 10.0
    mask[from_middle(where, middle) < radius] = COMPLETE
    bone = bone_of(where, mask)
    to_region = np.linalg.norm(places(bone) - middle, axis=-1) - radius
    slack = max(where.spacing)
    assert not bone.known[to_region < -0.5 * slack].any()
    assert not bone.known[np.abs(bone.image[1]) > to_region.clip(min=0) + slack].any()
    to_ball = np.linalg.norm(places(bone) - CENTRE, axis=-1) - RADIUS
    sure = (np.abs(to_ball) < to_region - 1.5 * slack) & (to_region < 15)
    assert sure.sum() > 1000 and bone.known[sure].mean() > 0.99


@pytest.mark.parametrize("name", GRIDS)
def test_the_face_of_a_cut_is_no_surface(name: str) -> None:
    """What is known is the distance to the whole bone, of which the mask shows a part."""
    where = geometry(name)
    mask = ball(where)
    mask[(patient_points(where) - CENTRE)[..., 0] > 3] = COMPLETE
    bone = bone_of(where, mask)
    assert (bone.known & (np.abs(bone.image[1]) < 6)).sum() > 2000
    assert np.abs(error(bone))[bone.known & (np.abs(bone.image[1]) < 6)].max() < 0.8 * max(where.spacing)


def test_everything_is_known_of_a_whole_bone() -> None:
    where = geometry(half_mm=40.0)
    assert bone_of(where, ball(where)).known.all()


def test_where_the_bone_leaves_the_field_of_view_nothing_is_known() -> None:
    where = geometry()
    whole = from_middle(where, np.add(CENTRE, [0, 0, 20.0])) < RADIUS  # cut 4 mm above its middle
    bone = bone_of(where, np.where(whole, KEEP, 0).astype(np.uint8))
    border = patient_points(where)[-1, 0, 0, 2]
    beyond = places(bone)[..., 2] > border + 0.5
    below = border - places(bone)[..., 2]
    assert beyond.any() and not bone.known[beyond].any()
    assert not bone.known[np.abs(bone.image[1]) > below + 0.5].any()
    true = np.linalg.norm(places(bone) - CENTRE - [0, 0, 20.0], axis=-1) - RADIUS
    close = bone.known & (np.abs(true) < 5)
    assert close.sum() > 500 and np.abs(bone.image[1] - true)[close].max() < 0.8


# ---- masks


@pytest.mark.parametrize("values", [(0,), (0, COMPLETE)])
def test_a_mask_without_bone_to_keep_is_refused(values: tuple[int, ...]) -> None:
    where = geometry()
    mask = np.where(ball(where) > 0, values[-1], 0).astype(np.uint8)
    with pytest.raises(KneeformerError, match="the mask keeps no bone: 1 marks bone to keep"):
        bone_of(where, mask)


def test_splinters_are_dropped_and_fragments_kept() -> None:
    mask = np.zeros((10, 10, 30), bool)
    mask[:, :, :10] = True  # 1000 voxels
    fragment, splinter = mask.copy(), mask.copy()
    fragment[:2, :2, 20:25] = True  # 20 of them are 2 %
    splinter[:2, :2, 20:24] = True
    splinter[5, 5, 15:18] = True
    assert np.array_equal(without_small_components(fragment), fragment)
    assert np.array_equal(without_small_components(splinter), mask)
    assert np.array_equal(without_small_components(mask), mask)
    assert not without_small_components(np.zeros_like(mask)).any()


def test_a_splinter_moves_nothing() -> None:
    where = geometry(half_mm=30.0)
    mask = ball(where)
    mask[:3, :3, :3] = KEEP
    clean = bone_of(where, ball(where))
    assert np.array_equal(bone_of(where, mask).to_patient, clean.to_patient)
    assert np.abs(bone_of(where, mask).image - clean.image).max() < 1e-4


@pytest.mark.parametrize(
    ("side", "said"), [(3, None), (6, "0.2 ml of the bone are left out, pieces smaller")]
)
def test_specks_are_told_where_they_are_no_noise(side: int, said: str | None) -> None:
    """27 mm3 of noise, and 216 mm3 of a ball of 11.5 ml: less than 2 % of it."""
    where = geometry(half_mm=30.0)
    mask = ball(where)
    mask[:side, :side, :side] = KEEP
    told = bone_of(where, mask).warnings
    assert told == () if said is None else told[0].startswith(said) and "(1)" in told[0]


def test_what_lies_outside_a_grid_is_measured() -> None:
    """A rod from -20 to 20 mm of its middle, on a grid that reaches 17.5 mm: 6 voxels of 41 are outside."""
    where = Grid((60, 20, 20), (1.0, 1.0, 1.0))
    rod = np.zeros(where.shape, np.uint8)
    rod[10:51, 8:13, 8:13] = KEEP
    outline = Outline.of(np.zeros(where.shape, np.int16), rod, where, SETTINGS)
    along = frame(outline.bone, where)
    share, mm = outline.outside((36, 20, 20), (1.0, 1.0, 1.0), along)
    assert share == pytest.approx(6 / 41) and mm == pytest.approx(2.5)
    assert outline.outside((42, 20, 20), (1.0, 1.0, 1.0), along) == (0.0, 0.0)


def test_a_bone_with_a_heavy_end_is_moved_until_its_grid_holds_it() -> None:
    """8000 voxels around z = 9.5 and 2880 around 109.5: the centroid is at 35.97, the far end 163.03 off.

    A grid of 152 voxels of 1.5 mm reaches 113.25, with a margin 107.25: the frame moves by 55.78. One of 104
    reaches 77.25: it moves by 35.28, keeps the near end, and 51 slices of 16 voxels beyond 148.5 are outside.
    """
    where = Grid((210, 48, 48), (1.0, 1.0, 1.0))
    bone = np.zeros(where.shape, np.uint8)
    bone[:20, 14:34, 14:34] = KEEP
    bone[20:200, 22:26, 22:26] = KEEP
    ct = np.zeros(where.shape, np.int16)
    long, short = (SETTINGS.model_copy(update={"grid": (n, 32, 32)}) for n in (152, 104))
    whole, cut = isolate(ct, bone, where, long), isolate(ct, bone, where, short)
    assert whole.warnings == () and not (whole.image[1, [0, -1]] < 0).any()
    assert whole.to_patient[:3, 3].tolist() == pytest.approx([23.5, 23.5, 199 - 107.25])
    assert cut.to_patient[2, 3] == pytest.approx(71.25)
    assert cut.warnings[0].startswith("7.5% of the bone, up to 5")
    assert "lie outside the plan's grid of bones and are cut off: plan again" in cut.warnings[0]


def test_a_straightened_frame_is_a_turn_of_the_plain_one() -> None:
    """A rod tilted by 15 degrees lies along an axis of its frame, whose middle stays the rod's."""
    where = Grid((60, 60, 60), (2.0, 2.0, 2.0))
    away = from_middle_of_grid(where)
    along = np.array([np.sin(np.radians(15)), 0.0, np.cos(np.radians(15))])  # (x, y, z)
    length = away @ along
    rod = (np.linalg.norm(away - length[..., None] * along, axis=-1) < 8) & (np.abs(length) < 50)
    plain, straight = frame(rod, where), frame(rod, where, straightened=True)
    assert np.allclose(plain[:3, 3], straight[:3, 3])
    assert np.allclose(straight[:3, :3].T @ straight[:3, :3], np.eye(3), atol=1e-9)
    assert np.degrees(np.arccos(straight[:3, 0] @ along)) < 0.5  # the frame's z axis


def test_a_bone_along_the_x_axis_keeps_its_ends_when_it_is_mirrored() -> None:
    """A cone with a bump to one side: the axis that is reversed is the other horizontal one."""
    where = Grid((60, 60, 60), (2.0, 2.0, 2.0))
    x, y, z = np.moveaxis(from_middle_of_grid(where), -1, 0)
    cone = (np.hypot(y, z) < 12 + x / 10) & (np.abs(x) < 50)
    bone = (cone | (np.linalg.norm([x - 30, y - 15, z], axis=0) < 8)).astype(np.uint8)
    lying = SETTINGS.model_copy(update={"grid": (24, 24, 48), "spacing": (3.0,) * 3, "straightened": True})
    ct = np.zeros(bone.shape, np.int16)
    plain, mirrored = (
        isolate(ct, bone, where, lying, mirrored=of_other_side) for of_other_side in (False, True)
    )
    assert lying.mirrored_axis == 1 and np.linalg.det(plain.to_patient[:3, :3]) == pytest.approx(
        -np.linalg.det(mirrored.to_patient[:3, :3])
    )
    thick = [(one.image[1] < 0).sum((0, 1))[[8, 35]] for one in (plain, mirrored)]
    assert all(left < right for left, right in thick)
    assert (
        np.abs(plain.image[1] - mirrored.image[1][:, ::-1]).mean()
        < 0.5 * np.abs(plain.image[1] - mirrored.image[1]).mean()
    )


def test_a_bone_that_stands_is_mirrored_from_left_to_right() -> None:
    standing = SETTINGS.model_copy(update={"grid": (48, 24, 24), "straightened": True})
    assert standing.mirrored_axis == SETTINGS.mirrored_axis == 2


def from_middle_of_grid(where: Grid) -> np.ndarray:
    """(z, y, x, 3) mm (x, y, z) from the middle of a grid that is not turned."""
    z, y, x = np.meshgrid(*(2.0 * (np.arange(60) - 29.5) for _ in range(3)), indexing="ij")
    return np.stack([x, y, z], -1)


# ---- on the prototype's grid


def test_a_bone_on_the_prototypes_grid_does_not_depend_on_its_own() -> None:
    """Resampled once, from the scan: one place in the patient is one image, whatever grid the pose is of."""
    where = geometry("oblique")
    ct = (8 * from_middle(where, CENTRE + 5)).astype(np.int16)
    outline = Outline.of(ct, ball(where), where, SETTINGS)
    pose = Pose(torch.from_numpy(rotation((9, 4, -6))), torch.tensor([1.0, -2.0, 3.0]).double(), 0.9)
    turn = Pose(torch.from_numpy(TURN), torch.tensor([4.0, 1.0, -1.0]).double(), 1.0)
    own = frame(outline.bone, where)
    turned = own @ turn.matrix().numpy()
    first, second = (
        Found(outline, outline.on(SETTINGS.grid, SETTINGS.spacing, grid), 0.0, 0.0, ()).on_prototype(
            to, SETTINGS
        )
        for grid, to in ((own, pose), (turned, pose.after(turn)))
    )
    np.testing.assert_allclose(first.image, second.image, atol=1e-4)
    assert (first.known == second.known).mean() > 0.999
    middle = points_from_middle(SETTINGS.grid, SETTINGS.spacing) - np.array([1.0, -2.0, 3.0]).reshape(
        3, 1, 1, 1
    )
    true = np.linalg.norm(middle, axis=0) - 0.9 * RADIUS
    near = np.abs(true) < 6
    assert np.abs(first.image[1] - true)[near].max() < 0.8  # mm, of voxels of 0.8 to 1.1 mm
