"""The backend batchgenerators: deterministic, and the same crop as ours up to its own interpolation."""

import pickle
import random
from itertools import pairwise

import numpy as np
import pytest
from every_change import EVERY_CHANGE

from kneeformer.transforms import by_batchgenerators, intensity, spatial
from kneeformer.transforms.augmentation import Augmentation

CROP = (8, 32, 32)
SPACING_MM = (3.0, 0.5, 0.5)
EVERYTHING = EVERY_CHANGE.model_copy(update={"backend": "batchgenerators"})
CHANGES = by_batchgenerators.changes(thick_axis=0)


def image_of(shape: tuple[int, ...] = (2, *CROP)) -> np.ndarray:
    """A smooth image, its second channel a hundred times as bright."""
    z, y, x = (np.linspace(0, 3, n) for n in shape[1:])
    wave = np.sin(z)[:, None, None] + np.cos(2 * y)[:, None] + np.sin(3 * x)
    return np.stack([wave * 100**c for c in range(shape[0])]).astype(np.float32)


def augmented(augmentation: Augmentation, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = augmentation.draw(rng, CROP, "SPL")
    image = image_of((1, *draw.region))
    return augmentation.apply(draw, image, (image > 0).astype(np.int16), rng)


def test_the_seed_decides_the_whole_crop_in_any_process() -> None:
    augmentation = Augmentation(EVERYTHING, SPACING_MM, thick_axis=0)
    image, label = augmented(augmentation, 1)
    assert image.shape == label.shape == (1, *CROP)
    assert image.dtype == np.float32 and label.dtype == np.int16
    assert np.isfinite(image).all() and set(np.unique(label)) == {0, 1}
    np.random.seed(5)
    random.seed(5)
    sent = pickle.loads(pickle.dumps(augmentation))  # as a worker process gets it
    assert np.array_equal(augmented(sent, 1)[0], image)
    assert not np.allclose(augmented(augmentation, 2)[0], image)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_leaves_its_input_and_the_global_states_as_they_were(name: str) -> None:
    image = image_of()
    before, states = image.copy(), (random.getstate(), np.random.get_state()[1].tolist())
    changed = CHANGES[name](image, np.random.default_rng(0))
    assert np.array_equal(image, before)
    assert states == (random.getstate(), np.random.get_state()[1].tolist())
    assert changed.shape == image.shape and changed.dtype == np.float32 and not np.array_equal(changed, image)


def test_global_states_come_back_after_a_fault() -> None:
    state = random.getstate()
    with pytest.raises(RuntimeError), by_batchgenerators.global_states(np.random.default_rng(0)):
        raise RuntimeError
    assert random.getstate() == state


def test_both_backends_have_the_same_changes_in_the_same_order() -> None:
    assert list(CHANGES) == list(intensity.changes(thick_axis=0))


@pytest.mark.parametrize("name", ["noise", "brightness"])
def test_amounts_are_relative_to_the_channel(name: str) -> None:
    image = image_of()
    draws = [
        np.abs(CHANGES[name](image, np.random.default_rng(s)) - image).mean((1, 2, 3)) for s in range(200)
    ]
    dim, bright = np.mean(draws, 0)
    assert bright / dim == pytest.approx(100, rel=0.35)


def test_a_warp_is_that_of_our_backend() -> None:
    settings = EVERYTHING.model_copy(update={"rotation_degrees": (30.0, 5.0, 5.0)})
    for seed in range(5):
        matrix = spatial.draw_affine(np.random.default_rng(seed), settings, SPACING_MM)
        assert matrix is not None
        region = image_of((2, *spatial.region_needed(matrix, CROP)))
        ours, theirs = (f(region, matrix, CROP, "image", 0) for f in (spatial.warp, by_batchgenerators.warp))
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-2)
        label = (region > 0).astype(np.int16)
        ours, theirs = (f(label, matrix, CROP, "label", -1) for f in (spatial.warp, by_batchgenerators.warp))
        assert (ours == theirs).mean() > 0.999  # rounding decides between two voxels that are as near


def test_nothing_mixes_thick_slices() -> None:
    image = np.zeros((1, *CROP), np.float32)
    image[:, 3] = np.random.default_rng(0).random(CROP[1:])
    for name in ("blur", "low_resolution"):
        changed = CHANGES[name](image, np.random.default_rng(0))
        assert np.array_equal(np.flatnonzero(changed.any((0, 2, 3))), [3])


def test_gamma_keeps_mean_deviation_and_order() -> None:
    image = image_of((1, *CROP))
    changed = CHANGES["gamma"](image, np.random.default_rng(3))
    assert changed.mean() == pytest.approx(image.mean(), abs=1e-3)
    assert changed.std() == pytest.approx(image.std(), rel=1e-3)
    by_brightness = changed.ravel()[np.argsort(image.ravel())]
    assert all(a <= b + 1e-5 for a, b in pairwise(by_brightness))
