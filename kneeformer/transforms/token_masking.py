"""Token masks for pre-training: random tokens, blocks of them, or whole slabs."""

import numpy as np

from kneeformer.config import MaskingSettings
from kneeformer.geometry.aliases import Size


def draw_visible(
    rng: np.random.Generator, grid: Size, settings: MaskingSettings, thick_axis: int | None = None
) -> np.ndarray:
    """Draw the tokens that stay visible; exactly the hidden share, rounded to a token, is hidden.

    Args:
        grid: tokens along (z, y, x).
        thick_axis: slabs lie across it; None draws an axis.

    Returns:
        bool of the grid's shape, True is visible.
    """
    count = int(np.prod(grid))
    hidden = int(np.clip(round(settings.ratio * count), 1, count - 1))
    order = _ORDERS[settings.kind](rng, grid, hidden, thick_axis)
    visible = np.ones(count, bool)
    visible[order[:hidden]] = False
    return visible.reshape(grid)


def _tokens(rng: np.random.Generator, grid: Size, hidden: int, thick_axis: int | None) -> np.ndarray:
    return rng.permutation(int(np.prod(grid)))


def _blocks(rng: np.random.Generator, grid: Size, hidden: int, thick_axis: int | None) -> np.ndarray:
    """Tokens in the order in which random boxes, a fifth to a half of each side, cover them."""
    covered = np.zeros(grid, bool)
    order: list[np.ndarray] = []
    while covered.sum() < hidden:
        sides = [max(1, round(n * rng.uniform(0.2, 0.5))) for n in grid]
        first = [int(rng.integers(0, n - s + 1)) for n, s in zip(grid, sides, strict=True)]
        box = np.zeros(grid, bool)
        box[tuple(slice(f, f + s) for f, s in zip(first, sides, strict=True))] = True
        order.append(np.flatnonzero(box & ~covered))
        covered |= box
    return np.concatenate(order)


def _slabs(rng: np.random.Generator, grid: Size, hidden: int, thick_axis: int | None) -> np.ndarray:
    """Tokens layer by layer along the axis, cyclically from a random layer; random within a layer."""
    axis = int(rng.integers(3)) if thick_axis is None else thick_axis
    layer = (np.indices(grid)[axis] - rng.integers(grid[axis])) % grid[axis]
    return np.lexsort((rng.random(layer.size), layer.ravel()))


_ORDERS = {"token": _tokens, "block": _blocks, "slab": _slabs}
