"""CutMix: blocks of a training crop replaced by those of another, drawn once, applied per role."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kneeformer.geometry.aliases import Size
from kneeformer.transforms.intensity import Span


@dataclass(frozen=True)
class CutMix:
    """Voxels of each image of a batch that come from another image of it.

    Attributes:
        source: (b,) int, the image that fills the blocks of each image; the image itself if it is not mixed.
        mask: (b, z, y, x) bool, True where voxels are replaced.
    """

    source: np.ndarray
    mask: np.ndarray

    def needed(self, items: Iterable[int]) -> list[int]:
        """The items of the batch from which `items` are mixed, themselves included; ascending."""
        return sorted({*items, *(int(self.source[item]) for item in items)})

    def apply(self, images: Mapping[int, np.ndarray], items: Iterable[int]) -> np.ndarray:
        """Items of a batch, mixed, (items, c, z, y, x).

        Args:
            images: the needed ones by their number in the batch, each (c, z, y, x) of any role and dtype.
        """
        return np.stack([np.where(self.mask[i], images[int(self.source[i])], images[i]) for i in items])


def draw_cutmix(
    rng: np.random.Generator, batch_size: int, crop: Size, probability: float, share: Span = (0.1, 0.3)
) -> CutMix:
    """Draw, with `probability` for each image, another image of the batch and the blocks that it fills.

    Args:
        crop: (z, y, x) voxels of each image.
        share: span of the replaced share of the crop, drawn uniformly.
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

    The grid is periodic: a block that leaves the crop at one face enters at the opposite one. Random boxes
    would overlap and miss the share; blocks of a grid meet it to about half a block.

    Returns:
        bool of the crop's shape, True inside the chosen blocks.
    """
    cells = np.minimum(rng.integers(parts[0], parts[1], size=3, endpoint=True), crop)
    count = int(cells.prod())
    chosen = rng.permutation(count) < round(share * count)
    offset = rng.integers(0, crop)
    block = [(np.arange(n) + o) % n * k // n for n, o, k in zip(crop, offset, cells, strict=True)]
    return np.asarray(chosen.reshape(cells)[np.ix_(*block)])
