"""A volume of which only some tokens are seen: hidden voxels are gone before the first convolution."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size
from kneeformer.networks.convolution import convolve


class VisibleTokens:
    """The tokens of a grid that are kept, and convolution over them alone.

    Features of n visible tokens per image are (batch, channels, n * z, y, x), channels last in memory: the
    tokens' blocks of z, y, x voxels stacked along z, in the order of `flatten` over the grid. What works
    voxel by voxel or over a whole image (activation, normalisation) needs no change; a convolution sees the
    voxels of visible neighbours and none of hidden ones, and is divided by the visible share of its kernel
    (partial convolution, Liu et al. 2018). So features beside a hole have the same magnitude as in a whole
    image, which the weights were made for.

    Internally a volume is a table with a row of channels for each voxel, and operations select rows.

    Attributes:
        visible: (batch, z, y, x) bool over the grid of tokens, True is visible.
        index: (batch, n) numbers of the visible tokens in the flattened grid, ascending.
    """

    def __init__(self, visible: Tensor) -> None:
        """Raises ValueError: images of a batch differ in their number of visible tokens."""
        counts = visible.flatten(1).sum(1)
        if counts.min() != counts.max() or not counts.min():
            raise ValueError(f"visible tokens must be equally many, at least one, in each image: {counts}")
        self.visible = visible
        self.index = visible.flatten(1).nonzero()[:, 1].view(len(visible), -1)

    def voxels(self, image: Tensor) -> Tensor:
        """The voxels of visible tokens, as features; image (batch, channels, z, y, x), whole tokens."""
        z, y, x = (n // g for n, g in zip(image.shape[2:], self.visible.shape[1:], strict=True))
        rows = _rows(image).index_select(0, self._places((z, y, x)))
        return self._volume(rows, (self.index.shape[1] * z, y, x))

    def dense(self, features: Tensor) -> Tensor:
        """Features at their positions in the image, (batch, channels, z, y, x); zeros elsewhere."""
        rows, size = _rows(features), self._size(features)
        z, y, x = (n * g for n, g in zip(size, self.visible.shape[1:], strict=True))
        image = rows.new_zeros(len(self.visible) * z * y * x, rows.shape[1])
        return self._volume(image.index_copy(0, self._places(size), rows), (z, y, x))

    def add(self, image: Tensor, features: Tensor) -> Tensor:
        """Return image + dense(features), (batch, channels, z, y, x); only visible voxels are touched."""
        _, _, z, y, x = image.shape
        rows = _rows(features).to(image.dtype)
        return self._volume(_rows(image).index_add(0, self._places(self._size(features)), rows), (z, y, x))

    def convolve(self, convolution: nn.Conv3d, features: Tensor) -> Tensor:
        """A "same" convolution of odd kernel, without bias, whose strides divide the blocks of `features`.

        It equals the dense one of an image that is zero at hidden tokens, divided by the share of the
        kernel's voxels that are not hidden; outside the image are zeros that count, as in the dense one.
        """
        size, kernel, stride = self._size(features), convolution.kernel_size, convolution.stride
        weight = convolution.weight
        windows = self._windows(features, [_reach(*axis) for axis in zip(size, kernel, stride, strict=True)])
        if windows.shape[1:4] == kernel:  # a block becomes one voxel: that is a matrix product
            rows = F.linear(windows.flatten(1), weight.permute(0, 2, 3, 4, 1).flatten(1))
            convolved = rows[:, None, None, None]
        else:
            convolved = convolve(windows.permute(0, 4, 1, 2, 3), weight, stride, (0, 0, 0))
            convolved = convolved.permute(0, 2, 3, 4, 1)
        convolved = convolved / self._seen(size, kernel, stride).to(convolved.dtype)
        _, z, y, x, channels = convolved.shape
        return self._volume(convolved.reshape(-1, channels), (self.index.shape[1] * z, y, x))

    def _windows(self, features: Tensor, reach: list[tuple[int, int]]) -> Tensor:
        """Blocks widened by voxels of visible neighbours, zeros elsewhere: (batch * n, z, y, x, channels)."""
        rows, size = _rows(features), self._size(features)
        hidden = len(rows)  # the number of a row of zeros behind the others
        z, y, x = (n * g for n, g in zip(size, self.visible.shape[1:], strict=True))
        number = torch.full((len(self.visible) * z * y * x,), hidden, device=rows.device)
        number[self._places(size)] = torch.arange(hidden, device=rows.device)
        around = [margin for before_after in reach[::-1] for margin in before_after]
        number = F.pad(number.view(-1, z, y, x), around, value=hidden)
        for axis, (n, (before, after)) in enumerate(zip(size, reach, strict=True), 1):
            number = number.unfold(axis, before + n + after, n)
        number = number[self.visible]
        return F.pad(rows, (0, 0, 0, 1)).index_select(0, number.flatten()).view(*number.shape, -1)

    def _seen(self, size: Size, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """Share of a kernel that falls on no hidden voxel, (batch * n, z, y, x, 1).

        Computed axis by axis, from the number of the kernel's voxels in each neighbouring block and from
        which of these blocks are visible.
        """
        counts = [_voxels_in_neighbours(*axis) for axis in zip(size, kernel, stride, strict=True)]
        around = [len(c[0]) // 2 for c in counts[::-1] for _ in range(2)]
        known = F.pad(self.visible.float(), around, value=1.0)
        for axis, count in enumerate(counts, 1):
            known = known.unfold(axis, len(count[0]), 1)
        known = known[self.visible]
        with torch.autocast(known.device.type, enabled=False):  # counts are exact
            for count in counts:  # the first neighbour axis goes, an axis of voxels comes last
                known = torch.tensordot(known, count.to(known.device), ([1], [1]))
        return known[..., None] / math.prod(kernel)

    def _places(self, size: Size) -> Tensor:
        """Rows of the visible voxels in the table of a whole image, whose tokens are blocks of that size."""
        batch, *grid = self.visible.shape
        cells = [n for g, s in zip(grid, size, strict=True) for n in (g, s)]
        number = torch.arange(batch * math.prod(cells), device=self.visible.device).view(batch, *cells)
        return number.permute(0, 1, 3, 5, 2, 4, 6)[self.visible].flatten()

    def _size(self, features: Tensor) -> Size:
        """Voxels (z, y, x) of a token's block."""
        z, y, x = features.shape[2:]
        return z // self.index.shape[1], y, x

    def _volume(self, rows: Tensor, shape: Size) -> Tensor:
        """A table as (batch, channels, z, y, x)."""
        return rows.view(len(self.visible), *shape, -1).permute(0, 4, 1, 2, 3)


def _rows(volume: Tensor) -> Tensor:
    """(batch, channels, z, y, x) -> (batch * z * y * x, channels); no copy where channels lie last."""
    return volume.permute(0, 2, 3, 4, 1).reshape(-1, volume.shape[1])


def _reach(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Voxels before and after a block that a convolution padded by kernel // 2 needs for size / stride."""
    before = kernel // 2
    return before, max(0, (size // stride - 1) * stride + kernel - before - size)


def _voxels_in_neighbours(size: int, kernel: int, stride: int) -> Tensor:
    """Along one axis, how many voxels of its kernel each output of a block has in each neighbouring block.

    (size / stride, neighbours) float32; the middle one of the neighbours is the block itself.
    """
    before = kernel // 2
    first = torch.arange(0, size, stride)[:, None] - before
    neighbour = (first + torch.arange(kernel)).div(size, rounding_mode="floor")
    far = -(-before // size)
    return F.one_hot(neighbour + far, 2 * far + 1).sum(1).float()
