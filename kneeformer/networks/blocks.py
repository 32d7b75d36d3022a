"""The parts networks are made of: convolution blocks and transformer blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size
from kneeformer.networks.convolution import convolve
from kneeformer.networks.positions import rotate
from kneeformer.networks.ranks import draw_per_item
from kneeformer.networks.visible import VisibleTokens


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov et al. 2016) that keeps the channels-last layout.

    nn.InstanceNorm3d folds batch into channels, which copies a channels-last tensor; batch normalisation of
    each image alone computes the same without.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        normalised = [self._normalise(image) for image in torch.split(features, 1)]
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised)

    def _normalise(self, image: Tensor) -> Tensor:
        return torch.batch_norm(image, self.weight, self.bias, None, None, True, 0.0, 1e-5, True)


class ConvBlock(nn.Module):
    """Convolution, instance normalisation, leaky ReLU; of a whole image, or of its visible tokens alone.

    Shapes: (batch, in, z, y, x) -> (batch, out, z / stride, y / stride, x / stride).
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: Size, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.convolution = nn.Conv3d(channels_in, channels_out, kernel, stride, self.padding, bias=False)
        self.normalisation = InstanceNorm(channels_out)

    def forward(self, features: Tensor, tokens: VisibleTokens | None = None) -> Tensor:
        convolved = (
            convolve(features, self.convolution.weight, self.convolution.stride, self.padding)
            if tokens is None
            else tokens.convolve(self.convolution, features)
        )
        return F.leaky_relu(self.normalisation(convolved), 0.01, inplace=True)


class Pointwise(nn.Conv3d):
    """A convolution whose kernel is one voxel, as a matrix product, which a CPU does several times faster.

    Shapes: (batch, in, z, y, x) -> (batch, out, z, y, x).
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, features: Tensor) -> Tensor:
        mapped = F.linear(features.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias)
        return mapped.permute(0, 4, 1, 2, 3)


class ResidualBlock(nn.Module):
    """A ConvBlock added to its input. Shape is kept."""

    def __init__(self, channels: int, kernel: Size) -> None:
        super().__init__()
        self.block = ConvBlock(channels, channels, kernel)

    def forward(self, features: Tensor, tokens: VisibleTokens | None = None) -> Tensor:
        added: Tensor = features + self.block(features, tokens)
        return added


class Expand(nn.Module):
    """Upsampling by whole factors: a linear map to factor x channels, unfolded into space.

    Equal to a transposed convolution with kernel = stride, as one matrix product.

    Shapes: (batch, in, z, y, x) -> (batch, out, z * fz, y * fy, x * fx).
    """

    def __init__(self, channels_in: int, channels_out: int, factor: Size) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(channels_in, channels_out * factor[0] * factor[1] * factor[2])

    def forward(self, features: Tensor) -> Tensor:
        batch, _, z, y, x = features.shape
        fz, fy, fx = self.factor
        blocks = self.linear(features.permute(0, 2, 3, 4, 1)).view(batch, z, y, x, fz, fy, fx, -1)
        space = blocks.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, z * fz, y * fy, x * fx, -1)
        upsampled: Tensor = space.permute(0, 4, 1, 2, 3)
        return upsampled


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP with rotary positions and stochastic depth (Huang et al. 2016).

    Shapes: tokens (batch, n, width), rotation (batch or 1, 1, n, head_width / 2) complex parts -> tokens.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = drop_path
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        hidden = round(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        tokens = tokens + self._drop(self._attend(self.norm_attention(tokens), rotation))
        changed: Tensor = tokens + self._drop(self.mlp(self.norm_mlp(tokens)))
        return changed

    def _attend(self, tokens: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        batch, n, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, n, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(rotate(query, rotation), rotate(key, rotation), value)
        projected: Tensor = self.projection(attended.transpose(1, 2).reshape(batch, n, width))
        return projected

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        kept = draw_per_item(len(branch), branch.device) < keep
        return branch * kept.to(branch.dtype)[:, None, None] / keep
