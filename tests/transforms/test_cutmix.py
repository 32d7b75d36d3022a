"""CutMix takes voxels and labels of a block from one other image, and as much as requested."""

import numpy as np
import pytest

from kneeformer.transforms import cutmix as masking

CROP = (12, 40, 40)


def identified(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(b, 2, z, y, x) images and (b, 1, z, y, x) labels, whose values tell image and voxel."""
    voxels = np.arange(np.prod(CROP)).reshape(CROP)
    images = np.stack([np.stack([voxels, -voxels]) * 10 + b for b in range(batch_size)]).astype(np.float32)
    labels = np.stack([np.full((1, *CROP), b, np.int16) for b in range(batch_size)])
    return images, labels


def mixed_by(cutmix: masking.CutMix, batch: np.ndarray) -> np.ndarray:
    return cutmix.apply(dict(enumerate(batch)), range(len(batch)))


def test_voxels_and_labels_come_from_one_image_and_the_same_place() -> None:
    images, labels = identified(4)
    cutmix = masking.draw_cutmix(np.random.default_rng(0), 4, CROP, probability=1.0)
    mixed, mixed_labels = mixed_by(cutmix, images), mixed_by(cutmix, labels)
    assert mixed.dtype == np.float32 and mixed_labels.dtype == np.int16
    for b in range(4):
        taken = mixed_labels[b, 0] != b
        assert np.array_equal(taken, cutmix.mask[b])
        assert set(np.unique(mixed_labels[b])) == {b, cutmix.source[b]}
        assert np.array_equal(mixed[b][:, taken], images[cutmix.source[b]][:, taken])
        assert np.array_equal(mixed[b][:, ~taken], images[b][:, ~taken])


def test_a_part_of_a_batch_needs_its_sources_alone() -> None:
    images, _ = identified(4)
    cutmix = masking.draw_cutmix(np.random.default_rng(0), 4, CROP, probability=1.0)
    needed = cutmix.needed(range(2, 4))
    assert needed == sorted({2, 3, *cutmix.source[2:].tolist()})
    part = cutmix.apply({item: images[item] for item in needed}, range(2, 4))
    assert np.array_equal(part, mixed_by(cutmix, images)[2:])


def test_the_batch_itself_stays() -> None:
    images, _ = identified(2)
    before = images.copy()
    mixed_by(masking.draw_cutmix(np.random.default_rng(0), 2, CROP, probability=1.0), images)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("seed", range(10))
def test_the_share_is_the_one_asked_for(seed: int) -> None:
    cutmix = masking.draw_cutmix(np.random.default_rng(seed), 3, CROP, probability=1.0, share=(0.1, 0.3))
    shares = cutmix.mask.mean((1, 2, 3))
    assert (shares > 0.05).all() and (shares < 0.37).all()
    assert masking.draw_blocks(np.random.default_rng(seed), CROP, 0.2).mean() == pytest.approx(0.2, abs=0.05)


def test_blocks_are_blocks() -> None:
    """As many voxel faces between inside and outside as blocks have, not as scattered voxels would."""
    mask = masking.draw_blocks(np.random.default_rng(0), CROP, 0.2)
    assert np.diff(mask.astype(int), axis=2).astype(bool).mean() < 0.1


def test_an_image_is_never_its_own_source_and_the_probability_holds() -> None:
    rng = np.random.default_rng(0)
    draws = [masking.draw_cutmix(rng, 3, (2, 4, 4), probability=0.4) for _ in range(300)]
    mixed = np.array([d.source != np.arange(3) for d in draws])
    assert mixed.mean() == pytest.approx(0.4, abs=0.05)
    assert all((d.mask.any((1, 2, 3)) <= m).all() for d, m in zip(draws, mixed, strict=True))


@pytest.mark.parametrize(("batch_size", "probability"), [(1, 1.0), (4, 0.0)])
def test_nothing_happens_to_one_image_alone_or_at_probability_zero(
    batch_size: int, probability: float
) -> None:
    images, _ = identified(batch_size)
    cutmix = masking.draw_cutmix(np.random.default_rng(0), batch_size, CROP, probability)
    assert np.array_equal(mixed_by(cutmix, images), images)


def test_the_seed_decides() -> None:
    first, same, other = (masking.draw_cutmix(np.random.default_rng(s), 2, CROP, 1.0).mask for s in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_crops_thinner_than_the_grid_of_blocks_are_possible() -> None:
    assert masking.draw_blocks(np.random.default_rng(0), (1, 2, 40), 0.25).shape == (1, 2, 40)
