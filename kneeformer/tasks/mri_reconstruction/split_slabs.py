"""Slabs for self-supervision: the input, the withheld samples, and the mask of a second scan."""

from dataclasses import dataclass

import numpy as np

from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.noise import noise_level
from kneeformer.kspace.sampling import draw_mask
from kneeformer.kspace.splitting import reach_of, sampling_density, withheld_weights, withhold
from kneeformer.tasks.mri_reconstruction.prepare import as_mask, calibration_width
from kneeformer.tasks.mri_reconstruction.settings import SamplingSettings

_SHIFT = 0.1  # of the columns, the farthest that an image is moved before it is measured again


@dataclass(frozen=True)
class Split:
    """One split of the measured columns, and the second scan of the moved image.

    Attributes:
        seen: (columns,) bool, the input.
        weights: (columns,) of the withheld columns, 0 elsewhere; the expected weighted sum of an error is its
            mean over all columns that are not seen.
        missing: (columns,) bool, not measured, between the first and the last measured one.
        again: (columns,) bool, the mask of the second scan.
        flip, shift: of the image along the columns before the second scan.
        noise_seed: seed of the noise of the second scan, independent of other items.
    """

    seen: np.ndarray
    weights: np.ndarray
    missing: np.ndarray
    again: np.ndarray
    flip: bool
    shift: int
    noise_seed: int

    @classmethod
    def draw(
        cls, measured: np.ndarray, share: float, sampling: SamplingSettings, rng: np.random.Generator
    ) -> "Split":
        """Withhold a share of the measured columns, (columns,) bool, and draw the second scan."""
        withheld, reach = withhold(measured, share, rng), reach_of(measured)
        weights = withheld_weights(sampling_density(measured), measured, withheld) / reach.sum()
        seed = rng.integers(2**31, size=2).tolist()
        again = draw_mask(sampling.kind, reach, float(rng.uniform(*sampling.accelerations)), seed)
        farthest = round(_SHIFT * len(measured))
        shift = int(rng.integers(-farthest, farthest + 1))
        flip, noise_seed = bool(rng.random() < 0.5), int(rng.integers(2**31))
        return cls(measured & ~withheld, weights, reach & ~measured, again, flip, shift, noise_seed)


def split_slab(
    kspace: np.ndarray, measured: np.ndarray, split: Split, rows: slice, axes: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The entries of a slab for the objective of self-supervision.

    They are "samples", all that were measured; "mask" of the input; "weights" of the withheld ones;
    "sensitivities" from the centre, which is never withheld; "noise" of each coil; and of the split
    "missing", "again", "flip", "shift" and "noise_seed".

    Args:
        kspace: (coils, slices, rows, columns) over the scale of its volume.
        rows: the rows to keep.
    """
    maps = coil_sensitivities(kspace, axes, calibration_width(measured))
    return {
        "samples": np.ascontiguousarray(kspace[:, :, rows], np.complex64),
        "mask": as_mask(split.seen, axes),
        "weights": as_mask(split.weights, axes).astype(np.float32),
        "sensitivities": np.ascontiguousarray(maps[:, :, rows], np.complex64),
        "noise": noise_level(kspace).astype(np.float32).reshape(-1, 1, 1, 1),
        "missing": as_mask(split.missing, axes),
        "again": as_mask(split.again, axes),
        "flip": np.array(split.flip),
        "shift": np.array(split.shift),
        "noise_seed": np.array(split.noise_seed),
    }
