"""Slabs for masked pre-training: complex images as two channels, and their visible tokens."""

import numpy as np

from kneeformer.config import MaskingSettings
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.geometry.aliases import Size
from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.fourier import to_image
from kneeformer.networks.unrolled import padding_to_tokens
from kneeformer.tasks.mri_reconstruction.prepare import calibration_width
from kneeformer.transforms.token_masking import draw_visible

_AIR = 0.05  # of the brightest voxel of the slab


def masked_slab(
    kspace: np.ndarray,
    acquired: np.ndarray,
    rows: slice,
    axes: tuple[int, ...],
    token: Size,
    masking: MaskingSettings,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return an image for networks to complete, in the phase and scale that denoisers see.

    "image" (2, z, y, x) float32, real and imaginary part, combined by the coil sensitivities and padded to
    whole tokens; "labels" (z, y, x), which exclude padding and air from the error; "visible", bool over the
    grid of tokens.

    Args:
        kspace: (coils, slices, rows, columns) over the scale of its volume, fully sampled.
        acquired: bool over the encoded `axes`.
    """
    maps = coil_sensitivities(kspace, axes, calibration_width(acquired))[:, :, rows]
    image = (maps.conj() * to_image(kspace[:, :, rows], axes)).sum(0)
    margins = padding_to_tokens(image.shape, token)
    channels = np.pad(np.stack([image.real, image.imag]), [(0, 0), *margins]).astype(np.float32)
    dark = np.hypot(*channels) < _AIR * np.abs(image).max()
    z, y, x = (n // t for n, t in zip(channels.shape[1:], token, strict=True))
    return {
        "image": channels,
        "labels": np.where(dark, IGNORE_INDEX, 0).astype(np.int16),
        "visible": draw_visible(rng, (z, y, x), masking),
    }
