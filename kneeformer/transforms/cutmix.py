"""CutMix: blocks of a training crop replaced by those of another, drawn once, applied per role."""

from dataclasses import dataclass

import numpy as np

from kneeformer.geometry.aliases import Size
from kneeformer.transforms.intensity import Span


@dataclass(frozen=True)
class CutMix:
    """Voxels of a batch that come from another image of it.

    Attributes:
        source: (b,) int, the image that fills the blocks of each image; itself where it stays whole.
        mask: (b, z, y, x) bool, True is replace.
    """

    source: np.ndarray
    mask: np.ndarray

    def apply(self, batch: np.ndarray) -> np.ndarray:
        """A (b, c, z, y, x) batch of any role and dtype, mixed; the batch itself stays as it was."""
        mixed = np.array(batch)
        for target in np.flatnonzero(self.mask.any((1, 2, 3))):
            np.copyto(mixed[target], batch[self.source[target]], where=self.mask[target])
        return mixed


def draw_cutmix(
    rng: np.random.Generator, batch_size: int, crop: Size, probability: float, share: Span = (0.1, 0.3)
) -> CutMix:
    """Draw, with `probability` for each image, another image of the batch and the blocks that it fills.

    Args:
        crop: (z, y, x) voxels of each image.
        share: of the crop that is replaced, uniform in this span.
    """
    source = np.arange(batch_size)
    mask = np.zeros((batch_size, *crop), dtype=bool)
    if batch_size > 1:
        for target in np.flatnonzero(rng.random(batch_size) < probability):
            source[target] = (target + rng.integers(1, batch_size)) % batch_size
            mask[target] = draw_blocks(rng, crop, rng.uniform(*share))
    return CutMix(source, mask)


def draw_blocks(
    rng: np.random.Generator, crop: Size, share: float, parts: tuple[int, int] = (3, 6)
) -> np.ndarray:
    """A random `share` of the blocks of a grid that has `parts` of them along an axis and starts anywhere.

    The grid goes round: what leaves the crop at one face comes in at the opposite one. Random boxes would
    overlap and miss the share; blocks of a grid meet it to about half a block.

    Returns:
        crop-shaped bool, True inside the chosen blocks.
    """
    cells = np.minimum(rng.integers(parts[0], parts[1], size=3, endpoint=True), crop)
    count = int(cells.prod())
    chosen = rng.permutation(count) < round(share * count)
    offset = rng.integers(0, crop)
    block = [(np.arange(n) + o) % n * k // n for n, o, k in zip(crop, offset, cells, strict=True)]
    return np.asarray(chosen.reshape(cells)[np.ix_(*block)])
