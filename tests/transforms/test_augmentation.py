"""The composed augmentation: one draw for all roles, from the region it names, by the seed alone."""

import numpy as np
from every_change import EVERY_CHANGE

from kneeformer.config import AugmentationSettings
from kneeformer.geometry.aliases import Size
from kneeformer.transforms.augmentation import Augmentation, Draw

CROP = (8, 32, 32)
SPACING_MM = (3.0, 0.5, 0.5)
EVERYTHING = EVERY_CHANGE.model_copy(update={"cutmix_probability": 1.0})
NOTHING = EVERYTHING.model_copy(
    update={"mirror_axes": (), **{k: 0.0 for k in EVERYTHING.model_dump() if k.endswith("_probability")}}
)
SPATIAL = NOTHING.model_copy(update={"mirror_axes": ("RL", "AP", "IS"), "affine_probability": 1.0})


def ball(region: Size) -> tuple[np.ndarray, np.ndarray]:
    """(1, z, y, x) float32 distance from a place off the centre, and its int16 ball."""
    axes = [np.arange(n) - (n - 1) / 2 for n in region]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    distance = np.sqrt(((z - 1) * 2) ** 2 + (y + 5) ** 2 + (x - 4) ** 2).astype(np.float32)[None]
    return distance, (distance < 9).astype(np.int16)


def augmented(settings: AugmentationSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    augmentation = Augmentation(settings, SPACING_MM, thick_axis=0)
    draw = augmentation.draw(rng, CROP, "SPL")
    return augmentation.apply(draw, *ball(draw.region), rng)


def test_everything_at_once_gives_a_finite_crop_and_labels_that_were_there() -> None:
    image, label = augmented(EVERYTHING, 0)
    assert image.shape == label.shape == (1, *CROP)
    assert image.dtype == np.float32 and label.dtype == np.int16
    assert np.isfinite(image).all() and set(np.unique(label)) == {0, 1}
    assert image.flags.c_contiguous and label.flags.c_contiguous


def test_image_and_label_stay_aligned_through_warp_and_mirror() -> None:
    for seed in range(8):
        image, label = augmented(SPATIAL, seed)
        inside = image < 9
        assert 2 * (inside & (label == 1)).sum() / (inside.sum() + label.sum()) > 0.9


def test_the_seed_decides_the_whole_crop() -> None:
    first, same, other = (augmented(EVERYTHING, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.allclose(first, other)


def test_at_probability_zero_the_crop_is_the_middle_of_the_region() -> None:
    augmentation = Augmentation(NOTHING, SPACING_MM)
    rng = np.random.default_rng(0)
    draw = augmentation.draw(rng, CROP, "SPL")
    assert draw.matrix is None and draw.mirrored == () and draw.region == CROP
    image, label = ball((10, 40, 36))
    cropped, cropped_label = augmentation.apply(draw, image, label, rng)
    assert np.array_equal(cropped, image[:, 1:9, 4:36, 2:34])
    assert np.array_equal(cropped_label, label[:, 1:9, 4:36, 2:34])


def test_left_and_right_are_mirrored_along_whichever_axis_they_lie() -> None:
    augmentation = Augmentation(NOTHING.model_copy(update={"mirror_axes": ("RL",)}), SPACING_MM)
    for orientation, axis in (("RSA", 0), ("SRA", 1), ("SPL", 2)):
        drawn = {augmentation.draw(np.random.default_rng(n), CROP, orientation).mirrored for n in range(9)}
        assert drawn == {(), (axis,)}


def test_the_region_suffices_and_beyond_a_smaller_one_the_label_is_outside() -> None:
    draw = Draw(CROP, np.diag([1.0, 1.5, 1.5]))
    assert draw.region == (8, 48, 48)
    assert (draw.apply(np.ones((1, *draw.region), np.int16), "label", outside=-1) == 1).all()
    assert -1 in draw.apply(np.ones((1, *CROP), np.int16), "label", outside=-1)


def test_thick_slices_do_not_mix_under_in_plane_settings() -> None:
    settings = EVERYTHING.model_copy(
        update={"scale": (1.0, 1.0), "noise_probability": 0.0, "mirror_axes": ()}
    )
    rng = np.random.default_rng(0)
    augmentation = Augmentation(settings, SPACING_MM, thick_axis=0)
    draw = augmentation.draw(rng, CROP, "SPL")
    slices = np.zeros((1, *draw.region), np.float32)
    slices[:, 3] = 1
    image, _ = augmentation.apply(draw, slices, slices.astype(np.int16), rng)
    others = np.delete(image, 3, axis=1)
    assert np.allclose(others, others.flat[0], atol=1e-3) and image[:, 3].min() > others.max()


def test_cutmix_is_drawn_only_at_its_probability() -> None:
    for settings, is_mixed in ((EVERYTHING, True), (NOTHING, False)):
        mix = Augmentation(settings, SPACING_MM).draw_mix(np.random.default_rng(0), 2, CROP)
        assert mix.mask.any() == is_mixed
