"""Changes of a training crop by batchgenerators (DKFZ), used where `augmentation.backend` chooses it.

Amounts are those of `intensity` and `spatial`; what batchgenerators counts in absolute units is scaled by
the channel's deviation. Its functions draw from the two global random states of a process and change the
image in place. So each gets a copy here, and the global states are seeded by the crop's generator and
restored afterwards: a crop is the same in any process, but two threads must not draw crops at the same time.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from batchgenerators.augmentations.color_augmentations import (
    augment_brightness_additive,
    augment_contrast,
    augment_gamma,
)
from batchgenerators.augmentations.noise_augmentations import augment_gaussian_blur, augment_gaussian_noise
from batchgenerators.augmentations.resample_augmentations import augment_linear_downsampling_scipy
from batchgenerators.augmentations.utils import create_zero_centered_coordinate_mesh, interpolate_img

from kneeformer.geometry.aliases import Size
from kneeformer.transforms.intensity import IntensityChange
from kneeformer.transforms.spatial import Role

Augment = Callable[[np.ndarray], np.ndarray]  # (channels, z, y, x) to the same, with the global random states


def warp(array: np.ndarray, matrix: np.ndarray, crop: Size, role: Role, outside: float = 0) -> np.ndarray:
    """Sample a crop through `matrix` from the region around its centre: see `spatial.warp`."""
    middle = (np.array(array.shape[1:]) - 1) / 2
    offsets = create_zero_centered_coordinate_mesh(crop)
    where = np.tensordot(matrix, offsets, 1) + middle.reshape(3, 1, 1, 1)
    order, mode = (1, "nearest") if role == "image" else (0, "constant")
    return np.stack([interpolate_img(channel, where, order, mode, outside) for channel in array])


def changes(thick_axis: int | None) -> dict[str, IntensityChange]:
    """Intensity changes by name, in the order of their application: see `intensity.changes`."""
    kept = None if thick_axis is None else (thick_axis,)
    return {
        "noise": partial(_by_channel, augment=_noise),
        "blur": partial(_by_channel, augment=partial(_blur, thick_axis=thick_axis)),
        "brightness": partial(_by_channel, augment=_brightness),
        "contrast": partial(_by_channel, augment=_contrast),
        "low_resolution": partial(_at_once, augment=partial(_low_resolution, kept=kept)),
        "gamma": partial(_by_channel, augment=_gamma),
    }


@contextmanager
def global_states(rng: np.random.Generator) -> Iterator[None]:
    """Seed `random` and `numpy.random` from a generator within the block; restore them after it."""
    seed = int(rng.integers(2**32))
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _at_once(image: np.ndarray, rng: np.random.Generator, augment: Augment) -> np.ndarray:
    """A function of batchgenerators, applied to all channels together."""
    with global_states(rng):
        return np.asarray(augment(image.copy()), np.float32)


def _by_channel(image: np.ndarray, rng: np.random.Generator, augment: Augment) -> np.ndarray:
    """A function of batchgenerators, applied to one channel after another: each is (1, z, y, x)."""
    with global_states(rng):
        return np.concatenate([np.asarray(augment(channel[None].copy()), np.float32) for channel in image])


def _noise(channel: np.ndarray) -> np.ndarray:
    return np.asarray(augment_gaussian_noise(channel, (0, 0.15 * float(channel.std()))))


def _blur(channel: np.ndarray, thick_axis: int | None) -> np.ndarray:
    """Blur within thick slices only: they are passed as channels that share one sigma."""
    if thick_axis is None:
        return np.asarray(augment_gaussian_blur(channel, (0.5, 1.0)))
    slices = np.moveaxis(channel[0], thick_axis, 0)
    blurred = np.asarray(augment_gaussian_blur(slices, (0.5, 1.0), per_channel=False))
    return np.moveaxis(blurred, 0, thick_axis)[None]


def _brightness(channel: np.ndarray) -> np.ndarray:
    """Shift by a normal deviate with the standard deviation of `intensity.brightness`."""
    return np.asarray(augment_brightness_additive(channel, 0, 0.3 / 3**0.5 * float(channel.std())))


def _contrast(channel: np.ndarray) -> np.ndarray:
    return np.asarray(augment_contrast(channel, (0.7, 1.4), preserve_range=False))


def _low_resolution(image: np.ndarray, kept: tuple[int, ...] | None) -> np.ndarray:
    return np.asarray(
        augment_linear_downsampling_scipy(image, per_channel=False, order_upsample=1, ignore_axes=kept)
    )


def _gamma(channel: np.ndarray) -> np.ndarray:
    inverted = random.random() < 0.25
    return np.asarray(augment_gamma(channel, (0.7, 1.5), invert_image=inverted, retain_stats=True))
