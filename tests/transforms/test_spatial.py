"""Warps do in millimetres what was drawn, to image and label alike, from no more voxels than they said."""

import numpy as np
import pytest

from kneeformer.config import AugmentationSettings
from kneeformer.transforms import spatial

KNEE_MM = (3.0, 0.5, 0.5)
ALWAYS = AugmentationSettings(rotation_degrees=(30, 10, 10), scale=(0.8, 1.25), affine_probability=1.0)


def rotation_about_z(degrees: float) -> np.ndarray:
    """(3, 3) on (z, y, x) in mm: at 90 degrees an output offset along +y comes from the input at +x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_about_y(degrees: float) -> np.ndarray:
    return np.asarray(rotation_about_z(degrees)[np.ix_([1, 0, 2], [1, 0, 2])])


def blob(shape: tuple[int, int, int], offset_voxels: tuple[float, float, float], width: float) -> np.ndarray:
    """(1, z, y, x) Gaussian around an offset from the centre."""
    axes = [np.arange(n) - (n - 1) / 2 - o for n, o in zip(shape, offset_voxels, strict=True)]
    squares = sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))
    return np.asarray(np.exp(-squares / (2 * width**2)), np.float32)[None]


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    """(3,) offset from the array's centre, in voxels."""
    axes = [np.arange(n) - (n - 1) / 2 for n in image.shape[1:]]
    moments = [(g * image[0]).sum() for g in np.meshgrid(*axes, indexing="ij")]
    return np.asarray(moments / image.sum())


@pytest.mark.parametrize("crop", [(8, 12, 16), (7, 11, 1)])
@pytest.mark.parametrize("role", ["image", "label"])
def test_the_identity_changes_nothing(crop: spatial.Size, role: spatial.Role) -> None:
    image = np.random.default_rng(0).random((2, *crop), dtype=np.float32)
    assert np.allclose(spatial.warp(image, np.eye(3), crop, role), image, atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("role", ["image", "label"])
def test_quarter_turns_are_those_of_numpy(turns: int, role: spatial.Role) -> None:
    image = np.random.default_rng(0).random((1, 4, 15, 15), dtype=np.float32)
    turned = spatial.warp(image, rotation_about_z(-90 * turns), (4, 15, 15), role)
    assert np.allclose(turned, np.rot90(image, turns, axes=(2, 3)), atol=1e-5)


def test_a_rotation_out_of_thick_slices_moves_a_blob_as_far_in_millimetres() -> None:
    image = blob((24, 1, 144), (0, 0, 36), width=3)  # 18 mm along x
    matrix = spatial.in_voxels(rotation_about_y(-90), KNEE_MM)
    turned = spatial.warp(image, matrix, (24, 1, 144), "image")
    assert np.allclose(np.abs(centre_of_mass(turned)), [6, 0, 0], atol=0.05)  # 18 mm are 6 slices


def test_an_in_plane_rotation_keeps_distances_in_millimetres() -> None:
    spacing = (1.0, 0.5, 2.0)
    image = blob((1, 97, 49), (0, 24, 0), width=3)  # 12 mm along y
    turned = spatial.warp(image, spatial.in_voxels(rotation_about_z(30), spacing), (1, 97, 49), "image")
    y_mm, x_mm = centre_of_mass(turned)[1:] * spacing[1:]
    assert np.hypot(y_mm, x_mm) == pytest.approx(12, abs=0.05)
    assert abs(x_mm) == pytest.approx(6, abs=0.05)


def test_a_scale_above_one_makes_objects_larger() -> None:
    settings = AugmentationSettings(scale=(1.5, 1.5), affine_probability=1.0)
    matrix = spatial.draw_affine(np.random.default_rng(0), settings, KNEE_MM)
    assert matrix is not None
    moved = spatial.warp(blob((3, 65, 65), (0, 0, 12), width=3), matrix, (3, 65, 65), "image")
    assert np.allclose(centre_of_mass(moved), [0, 0, 18], atol=0.05)


def test_draws_are_rotations_and_scales_within_the_settings() -> None:
    rng = np.random.default_rng(0)
    spacing = np.array(KNEE_MM)
    for _ in range(50):
        matrix = spatial.draw_affine(rng, ALWAYS, KNEE_MM)
        assert matrix is not None
        in_mm = matrix * spacing[:, None] / spacing[None, :]
        scale = np.linalg.det(in_mm) ** (-1 / 3)
        assert 0.8 <= scale <= 1.25
        assert np.allclose(in_mm @ in_mm.T * scale**2, np.eye(3))


def test_rotation_about_the_thick_axis_alone_stays_in_the_slice() -> None:
    settings = AugmentationSettings(rotation_degrees=(30, 0, 0), affine_probability=1.0)
    matrix = spatial.draw_affine(np.random.default_rng(0), settings, KNEE_MM)
    assert matrix is not None
    assert np.allclose(matrix[0], [1, 0, 0]) and np.allclose(matrix[:, 0], [1, 0, 0])
    assert spatial.region_needed(matrix, (9, 20, 20))[0] == 9


def test_scale_across_thick_slices_is_one() -> None:
    settings = AugmentationSettings(rotation_degrees=(30, 0, 0), scale=(1.5, 1.5), affine_probability=1.0)
    matrix = spatial.draw_affine(np.random.default_rng(0), settings, KNEE_MM, thick_axis=0)
    assert matrix is not None
    assert np.allclose(matrix[0], [1, 0, 0]) and np.allclose(matrix[:, 0], [1, 0, 0])
    assert np.linalg.det(matrix) == pytest.approx(1 / 1.5**2)


def test_no_matrix_where_the_draw_or_the_settings_say_so() -> None:
    rng = np.random.default_rng(0)
    never = ALWAYS.model_copy(update={"affine_probability": 0.0})
    assert spatial.draw_affine(rng, never, KNEE_MM) is None
    assert spatial.draw_affine(rng, AugmentationSettings(affine_probability=1.0), KNEE_MM) is None
    often = ALWAYS.model_copy(update={"affine_probability": 0.3})
    drawn = [spatial.draw_affine(rng, often, KNEE_MM) is not None for _ in range(1000)]
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.05)


def test_equal_seeds_draw_equal_matrices_and_others_do_not() -> None:
    first, same, other = (spatial.draw_affine(np.random.default_rng(s), ALWAYS, KNEE_MM) for s in (1, 1, 2))
    assert first is not None and same is not None and other is not None
    assert np.array_equal(first, same)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("seed", range(20))
def test_the_region_needed_suffices(seed: int) -> None:
    crop = (6, 17, 20)
    matrix = spatial.draw_affine(np.random.default_rng(seed), ALWAYS, KNEE_MM)
    assert matrix is not None
    region = spatial.region_needed(matrix, crop)
    assert all(r >= c and (r - c) % 2 == 0 for r, c in zip(region, crop, strict=True))
    inside = np.ones((1, *region), np.float32)
    walled = np.pad(inside, [(0, 0), (1, 1), (1, 1), (1, 1)], constant_values=2)
    assert (spatial.warp(inside, matrix, crop, "label", outside=-1) == 1).all()
    assert np.allclose(spatial.warp(walled, matrix, crop, "image"), 1, atol=1e-3)


def test_the_region_is_not_larger_than_the_warp_reaches() -> None:
    assert spatial.region_needed(np.eye(3), (4, 10, 10)) == (4, 10, 10)
    assert spatial.region_needed(rotation_about_z(90), (4, 10, 20)) == (4, 20, 20)
    assert spatial.region_needed(np.eye(3) * 2, (5, 5, 5)) == (9, 9, 9)
    assert spatial.region_needed(np.eye(3) / 2, (5, 5, 5)) == (5, 5, 5)


def test_a_larger_region_gives_the_same_crop() -> None:
    crop = (6, 16, 16)
    matrix = spatial.draw_affine(np.random.default_rng(3), ALWAYS, KNEE_MM)
    assert matrix is not None
    large = np.random.default_rng(0).random((1, 20, 40, 40), dtype=np.float32)
    small = spatial.centre(large, spatial.region_needed(matrix, crop))
    from_large, from_small = (spatial.warp(a, matrix, crop, "image") for a in (large, small))
    assert np.allclose(from_large, from_small, atol=1e-4)


def test_image_and_label_stay_aligned() -> None:
    crop = (12, 40, 40)
    matrix = spatial.draw_affine(np.random.default_rng(5), ALWAYS, KNEE_MM)
    assert matrix is not None
    image = blob(spatial.region_needed(matrix, crop), (1, 6, -5), width=6)
    label = (image > 0.5).astype(np.int16)
    again = spatial.warp(image, matrix, crop, "image") > 0.5
    warped = spatial.warp(label, matrix, crop, "label")
    assert warped.dtype == np.int16
    assert 2 * (again & (warped == 1)).sum() / (again.sum() + warped.sum()) > 0.95


def test_labels_are_never_blended_and_have_their_own_outside() -> None:
    label = np.where(np.arange(20) < 10, 1, 7)[None, None, None, :].repeat(20, axis=2).astype(np.int8)
    zoomed_out = spatial.warp(label, np.diag([1, 2, 2]), (1, 20, 20), "label", outside=-1)
    assert set(np.unique(zoomed_out)) == {-1, 1, 7}


def test_images_go_on_beyond_their_border() -> None:
    image = np.full((1, 4, 8, 8), 5, np.float32)
    assert np.allclose(spatial.warp(image, np.eye(3) * 3, (4, 8, 8), "image"), 5)


def test_mirroring_reverses_the_axes_it_says_and_twice_is_nothing() -> None:
    image = np.arange(24).reshape(1, 2, 3, 4)
    mirrored = spatial.mirror(image, (0, 2))
    assert np.array_equal(mirrored, image[:, ::-1, :, ::-1])
    assert mirrored.flags.c_contiguous
    assert np.array_equal(spatial.mirror(mirrored, (0, 2)), image)
    assert np.array_equal(spatial.mirror(image, ()), image)


def test_each_allowed_axis_is_mirrored_half_the_time() -> None:
    rng = np.random.default_rng(0)
    draws = [spatial.draw_mirror(rng, (0, 2)) for _ in range(1000)]
    assert set(draws) == {(), (0,), (2,), (0, 2)}
    assert np.mean([0 in d for d in draws]) == pytest.approx(0.5, abs=0.05)
    assert spatial.draw_mirror(rng, ()) == ()
