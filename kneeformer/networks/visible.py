"""A volume of which only some tokens are seen: hidden voxels are gone before the first convolution."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[int, int, int]
Slices = tuple[slice, slice, slice]


class VisibleTokens:
    """The tokens of a grid that are kept, and convolution over them alone.

    Features of n visible tokens an image are (batch, channels, n * z, y, x), channels last in memory: the
    tokens' blocks of z, y, x voxels stacked along z, in the order of `flatten` over the grid. What works
    voxel by voxel or over a whole image (activation, normalisation) needs no change; a convolution sees the
    voxels of visible neighbours and none of hidden ones, and is scaled up by the part of its kernel that saw
    something (partial convolution, Liu et al. 2018). So features beside a hole have the size that they have
    in a whole image, which is what the weights are for. With a quarter visible it costs about half of a
    dense one, since margins are worked out as well.

    Attributes:
        visible: (batch, z, y, x) bool over the grid of tokens, True is visible.
        index: (batch, n) numbers of the visible tokens in the flattened grid, ascending.
    """

    def __init__(self, visible: Tensor) -> None:
        """Raises ValueError: images of a batch that differ in how many tokens are visible."""
        counts = visible.flatten(1).sum(1)
        if counts.min() != counts.max() or not counts.min():
            raise ValueError(f"visible tokens must be equally many, at least one, in each image: {counts}")
        self.visible = visible
        self.index = visible.flatten(1).nonzero()[:, 1].view(len(visible), -1)
        self._number = torch.full(visible.shape, -1, device=visible.device)
        self._number[visible] = torch.arange(self.index.numel(), device=visible.device)
        self._pairs: dict[Triple, tuple[Tensor, Tensor]] = {}

    def voxels(self, image: Tensor) -> Tensor:
        """The voxels of visible tokens, as features; image (batch, channels, z, y, x), whole tokens."""
        features: Tensor = _Take.apply(image, self)  # type: ignore[no-untyped-call]
        return features

    def dense(self, features: Tensor) -> Tensor:
        """Features put back to where they are in the image, (batch, channels, z, y, x); zeros elsewhere."""
        image: Tensor = _Put.apply(features, self)  # type: ignore[no-untyped-call]
        return image

    def convolve(self, convolution: nn.Conv3d, features: Tensor) -> Tensor:
        """A "same" convolution of odd kernel, without bias, whose strides divide the blocks of `features`.

        It equals the dense one of an image that is zero at hidden tokens, divided by the share of the
        kernel's voxels that are not hidden; outside the image are zeros that count, as in the dense one.
        """
        size, kernel, stride = self._size(features), convolution.kernel_size, convolution.stride
        reach = [_reach(n, k, s) for n, k, s in zip(size, kernel, stride, strict=True)]
        widened = math.prod(n + sum(r) for n, r in zip(size, reach, strict=True)) * self.index.numel()
        if widened < math.prod(size) * self.visible.numel():
            windows: Tensor = _WithNeighbours.apply(self._blocks(features), self, reach)  # type: ignore[no-untyped-call]
            convolved = F.conv3d(windows.permute(0, 4, 1, 2, 3), convolution.weight, stride=stride)
            convolved = self._stacked(convolved.permute(0, 2, 3, 4, 1))
        else:  # small blocks, whose margins are more than what is hidden
            whole = F.conv3d(self.dense(features), convolution.weight, None, stride, [k // 2 for k in kernel])
            convolved = self.voxels(whole)
        return convolved / self._seen(size, kernel, stride).to(convolved.dtype)

    def _seen(self, size: Triple, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """Share of a kernel that falls on no hidden voxel, as features of one channel."""
        known = self.visible[:, None].float()
        for axis, n in enumerate(size):
            known = known.repeat_interleave(n, axis + 2)
        around = [k // 2 for k in kernel[::-1] for _ in range(2)]
        return self.voxels(F.avg_pool3d(F.pad(known, around, value=1.0), kernel, stride))

    def _size(self, features: Tensor) -> Triple:
        """Voxels (z, y, x) of a token's block."""
        z, y, x = features.shape[2:]
        return z // self.index.shape[1], y, x

    def _blocks(self, features: Tensor) -> Tensor:
        """(batch, channels, n * z, y, x) -> (batch * n, z, y, x, channels)."""
        batch, channels, _, y, x = features.shape
        rows = features.permute(0, 2, 3, 4, 1)
        return rows.reshape(batch * self.index.shape[1], -1, y, x, channels)

    def _stacked(self, blocks: Tensor) -> Tensor:
        """(batch * n, z, y, x, channels) -> (batch, channels, n * z, y, x)."""
        _, _, y, x, channels = blocks.shape
        return blocks.reshape(len(self.visible), -1, y, x, channels).permute(0, 4, 1, 2, 3)

    def take(self, image: Tensor) -> Tensor:
        """`voxels`, without a gradient."""
        batch, channels = image.shape[:2]
        grid = self.visible.shape[1:]
        size = [n // g for n, g in zip(image.shape[2:], grid, strict=True)]
        cells = image.reshape(batch, channels, grid[0], size[0], grid[1], size[1], grid[2], size[2])
        return self._stacked(cells.permute(0, 2, 4, 6, 3, 5, 7, 1)[self.visible])

    def put(self, features: Tensor) -> Tensor:
        """`dense`, without a gradient."""
        blocks = self._blocks(features)
        batch, *grid = self.visible.shape
        _, z, y, x, channels = blocks.shape
        cells = blocks.new_zeros(batch, *grid, z, y, x, channels)
        cells[self.visible] = blocks
        rows = cells.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, grid[0] * z, grid[1] * y, -1, channels)
        return rows.permute(0, 4, 1, 2, 3)

    def pairs(self, offset: Triple) -> tuple[Tensor, Tensor]:
        """Blocks that have a visible neighbour at an offset on the grid, and those neighbours: two (m,)."""
        if offset not in self._pairs:
            far = max(map(abs, offset))
            padded = F.pad(self._number, (far,) * 6, value=-1)
            z, y, x = (
                slice(far + o, far + o + n) for o, n in zip(offset, self.visible.shape[1:], strict=True)
            )
            neighbour = padded[:, z, y, x]
            both = (self._number >= 0) & (neighbour >= 0)
            self._pairs[offset] = self._number[both], neighbour[both]
        return self._pairs[offset]


class _Take(torch.autograd.Function):
    """Voxels of visible tokens; backward, they are put back: gradients keep the channels-last layout."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, tokens: VisibleTokens) -> Tensor:
        ctx.tokens = tokens
        return tokens.take(image)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.tokens.put(gradient), None


class _Put(torch.autograd.Function):
    """The other way round."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, tokens: VisibleTokens) -> Tensor:
        ctx.tokens = tokens
        return tokens.put(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.tokens.take(gradient), None


class _WithNeighbours(torch.autograd.Function):
    """Blocks (m, z, y, x, channels) widened by the voxels of their visible neighbours, zeros elsewhere.

    Offset by offset, a neighbour's slab is copied into the margin; backward, its gradient is copied back.
    For one offset every block has one neighbour and is neighbour to one, so nothing is ever summed twice.
    """

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, visible: VisibleTokens, reach: list[tuple[int, int]]) -> Tensor:
        ctx.visible, ctx.reach, ctx.size = visible, reach, blocks.shape
        widened = [n + low + high for n, (low, high) in zip(blocks.shape[1:4], reach, strict=True)]
        windows = blocks.new_zeros(len(blocks), *widened, blocks.shape[4])
        for offset, margin, source in _pieces(blocks.shape[1:4], reach):
            to, of = visible.pairs(offset)
            into, taken = (to, *margin), (of, *source)
            windows[into] = blocks[taken]
        return windows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        blocks = gradient.new_zeros(ctx.size)
        for offset, margin, source in _pieces(ctx.size[1:4], ctx.reach):
            to, of = ctx.visible.pairs(offset)
            into, taken = (of, *source), (to, *margin)
            blocks[into] += gradient[taken]
        return blocks, None, None


def _reach(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Voxels before and after a block that a convolution padded by kernel // 2 needs for size / stride."""
    before = kernel // 2
    return before, max(0, (size // stride - 1) * stride + kernel - before - size)


def _pieces(size: torch.Size, reach: list[tuple[int, int]]) -> Iterator[tuple[Triple, Slices, Slices]]:
    """For each neighbour's offset: where its voxels go in the window, and which of its voxels those are."""
    axes = []
    for n, (low, high) in zip(size, reach, strict=True):
        pieces = []
        for offset in range(-low // n, -(-high // n) + 1):
            first, last = max(-low, offset * n), min(n + high, offset * n + n)
            source = slice(first - offset * n, last - offset * n)
            pieces.append((offset, slice(first + low, last + low), source))
        axes.append(pieces)
    for z, y, x in itertools.product(*axes):
        yield (z[0], y[0], x[0]), (z[1], y[1], x[1]), (z[2], y[2], x[2])
