"""Blocks of networks against what they are equal to."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size
from kneeformer.networks.blocks import ConvBlock, Expand, Pointwise, ResidualBlock, TransformerBlock
from kneeformer.networks.positions import RotaryPositions


@pytest.mark.parametrize("channels_out", [1, 4])
def test_pointwise_is_the_convolution_it_is_named_after(channels_out: int) -> None:
    torch.manual_seed(0)
    pointwise, convolution = Pointwise(3, channels_out), nn.Conv3d(3, channels_out, 1)
    convolution.load_state_dict(pointwise.state_dict())
    features = torch.randn(2, 3, 4, 5, 6)
    assert torch.allclose(pointwise(features), convolution(features), atol=1e-6)


@pytest.mark.parametrize("factor", [(1, 1, 1), (2, 2, 2), (1, 2, 4), (3, 1, 2)])
def test_expand_is_a_transposed_convolution_with_kernel_and_stride_alike(factor: Size) -> None:
    torch.manual_seed(0)
    expand = Expand(5, 3, factor)
    transposed = nn.ConvTranspose3d(5, 3, factor, factor)
    # linear: rows are (fz, fy, fx, out), columns in; transposed: (in, out, fz, fy, fx)
    weight = expand.linear.weight.detach().view(*factor, 3, 5)
    transposed.weight.data = weight.permute(4, 3, 0, 1, 2).contiguous()
    biases = expand.linear.bias.detach().view(-1, 3)
    biases[:] = biases[0]
    transposed.bias.data = biases[0].clone()
    features = torch.randn(2, 5, 3, 4, 2)
    assert torch.allclose(expand(features), transposed(features), atol=1e-5)


def test_expand_puts_each_value_at_its_place() -> None:
    expand = Expand(1, 1, (1, 2, 3))
    expand.linear.weight.data[:] = 0
    expand.linear.bias.data = torch.arange(6.0)
    expanded = expand(torch.zeros(1, 1, 2, 1, 2))
    assert expanded.shape == (1, 1, 2, 2, 6)
    assert expanded[0, 0, 0].tolist() == expanded[0, 0, 1].tolist() == [[0, 1, 2] * 2, [3, 4, 5] * 2]


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 1, 4), (2, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 1, 3)])
def test_convolutions_divide_the_grid_by_their_stride(stride: Size, kernel: Size) -> None:
    block = ConvBlock(2, 4, kernel, stride)
    size = [s * n for s, n in zip(stride, (3, 5, 2), strict=True)]
    assert block(torch.randn(1, 2, *size)).shape == (1, 4, 3, 5, 2)


def test_a_convolution_block_is_convolution_normalisation_and_leaky_relu() -> None:
    torch.manual_seed(0)
    block = ConvBlock(2, 3, (3, 3, 3))
    features = torch.randn(2, 2, 4, 5, 6)
    normalised = block.normalisation(F.conv3d(features, block.convolution.weight, padding=1))
    means = normalised.mean((1, 2, 3, 4))
    assert torch.allclose(means, torch.zeros(2), atol=1e-5)
    assert torch.allclose(normalised.var((1, 2, 3, 4), unbiased=False), torch.ones(2), atol=1e-3)
    assert torch.allclose(
        block(features), torch.where(normalised > 0, normalised, normalised / 100), atol=1e-6
    )


def test_the_scale_of_an_image_does_not_matter() -> None:
    torch.manual_seed(0)
    block = ConvBlock(2, 3, (3, 3, 3))
    features = torch.randn(2, 2, 4, 5, 6)
    assert torch.allclose(
        block(features * torch.tensor([1, 50.0]).view(2, 1, 1, 1, 1)), block(features), atol=1e-3
    )


def test_a_residual_block_adds_and_leaves_its_input_alone() -> None:
    block = ResidualBlock(3, (1, 3, 3))
    features = torch.randn(1, 3, 2, 4, 5)
    before = features.clone()
    assert torch.allclose(block(features) - before, block.block(before), atol=1e-6)
    assert torch.equal(features, before)


def transformer(drop_path: float = 0.0) -> TransformerBlock:
    torch.manual_seed(0)
    return TransformerBlock(24, 2, 4.0, drop_path)


def test_attention_by_hand() -> None:
    block = transformer()
    tokens = torch.randn(1, 5, 24)
    nothing = RotaryPositions(12, (4.0, 400.0))(torch.zeros(1, 5, 3))
    query, key, value = block.qkv(block.norm_attention(tokens)).chunk(3, -1)
    heads = []
    for part in (slice(0, 12), slice(12, 24)):
        shares = (query[..., part] @ key[..., part].transpose(1, 2) / 12**0.5).softmax(-1)
        heads.append(shares @ value[..., part])
    attended = tokens + block.projection(torch.cat(heads, -1))
    expected = attended + block.mlp(block.norm_mlp(attended))
    assert torch.allclose(block(tokens, nothing), expected, atol=1e-5)


def test_the_order_of_tokens_does_not_matter_but_their_positions_do() -> None:
    block, rotary = transformer(), RotaryPositions(12, (4.0, 400.0))
    tokens, positions, order = torch.randn(1, 6, 24), 30 * torch.rand(1, 6, 3), torch.randperm(6)
    whole = block(tokens, rotary(positions))
    assert torch.allclose(block(tokens[:, order], rotary(positions[:, order])), whole[:, order], atol=1e-5)
    assert not torch.allclose(block(tokens[:, order], rotary(positions)), whole[:, order], atol=1e-5)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean() -> None:
    block = transformer(drop_path=0.25).train()
    branch = torch.ones(20_000, 1, 1)
    torch.manual_seed(1)
    dropped = block._drop(branch)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert torch.equal(block.eval()._drop(branch), branch)
