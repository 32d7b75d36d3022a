"""Convolution over visible tokens: the dense one of zeros where hidden, by the share its kernel saw."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.config import StemStage
from kneeformer.geometry.aliases import Size
from kneeformer.networks.visible import VisibleTokens
from kneeformer.networks.vit import Stem

ONE = (1, 1, 1)
CLOSE = 1e-6  # the share a kernel saw is of single precision
LAYOUTS = [  # grid of tokens, voxels of a token, kernel, stride
    ((2, 3, 4), (4, 4, 4), (3, 3, 3), ONE),
    ((3, 2, 4), (3, 5, 1), (3, 3, 3), ONE),
    ((2, 4, 5), (3, 5, 1), (5, 5, 5), ONE),  # along x a kernel reaches two neighbours on either side
    ((1, 5, 6), ONE, (5, 5, 5), ONE),
    ((5, 1, 4), (1, 2, 1), (5, 1, 5), ONE),
    ((3, 2, 4), (3, 5, 1), (3, 5, 3), (3, 5, 1)),
    ((3, 2, 4), (3, 5, 1), (1, 3, 5), (3, 1, 1)),
    ((4, 3, 2), (2, 4, 6), (5, 3, 3), (2, 2, 3)),
    ((2, 3, 3), (1, 4, 2), (1, 1, 1), (1, 2, 2)),  # skips every other voxel
    ((3, 3, 2), (1, 4, 2), (5, 5, 1), (1, 4, 2)),
]


def some_visible(grid: Size, batch: int = 2, share: float = 0.4) -> Tensor:
    """(batch, *grid) bool by chance, equally many in each image."""
    count = math.prod(grid)
    order = torch.rand(batch, count, generator=torch.Generator().manual_seed(0)).argsort(1)
    return (order < max(1, round(share * count))).view(batch, *grid)


def voxels_of(visible: Tensor, token: Size) -> Tensor:
    """(batch, 1, z, y, x): the tokens' flags, given to each of their voxels."""
    flags = visible[:, None]
    for axis, size in enumerate(token, 2):
        flags = flags.repeat_interleave(size, axis)
    return flags


def stacked(volume: Tensor, visible: Tensor) -> Tensor:
    """The blocks of visible tokens below one another along z, cut out one by one."""
    z, y, x = (n // g for n, g in zip(volume.shape[2:], visible.shape[1:], strict=True))
    images = []
    for image, flags in zip(volume, visible, strict=True):
        places = itertools.product(*map(range, flags.shape))
        blocks = [
            image[:, a * z : a * z + z, b * y : b * y + y, c * x : c * x + x]
            for a, b, c in places
            if flags[a, b, c]
        ]
        images.append(torch.cat(blocks, 1))
    return torch.stack(images)


def image_for(grid: Size, token: Size, channels: int = 2) -> Tensor:
    """Two images in double precision."""
    size = [g * t for g, t in zip(grid, token, strict=True)]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)


def convolution_of(kernel: Size, stride: Size) -> nn.Conv3d:
    torch.manual_seed(2)
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(2, 3, kernel, stride, padding, bias=False, dtype=torch.float64)


def densely(convolution: nn.Conv3d, image: Tensor, seen: Tensor) -> Tensor:
    """The whole image convolved, zero at hidden voxels, over the share of the kernel that saw something.

    Outside the image nothing is hidden: there are zeros, as in any convolution.
    """
    z, y, x = convolution.kernel_size
    hidden = F.pad((~seen).double(), (x // 2, x // 2, y // 2, y // 2, z // 2, z // 2))
    lost = F.conv3d(hidden, torch.ones(1, 1, z, y, x, dtype=torch.float64), stride=convolution.stride)
    return convolution(image * seen) / (1 - lost / (z * y * x)).clamp(min=1e-9)


@pytest.mark.parametrize(("grid", "token", "kernel", "stride"), LAYOUTS)
@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_it_is_the_dense_convolution_of_what_is_seen(
    grid: Size, token: Size, kernel: Size, stride: Size, share: float
) -> None:
    image, visible = image_for(grid, token), some_visible(grid, 2, share)
    convolution = convolution_of(kernel, stride)
    tokens = VisibleTokens(visible)
    expected = stacked(densely(convolution, image, voxels_of(visible, token)), visible)
    found = tokens.convolve(convolution, tokens.voxels(image))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("grid", "token", "kernel", "stride"), LAYOUTS)
def test_its_gradients_are_those_of_the_dense_convolution(
    grid: Size, token: Size, kernel: Size, stride: Size
) -> None:
    visible = some_visible(grid)
    tokens, seen = VisibleTokens(visible), voxels_of(visible, token)
    gradients = []
    for dense in (True, False):
        image, convolution = image_for(grid, token).requires_grad_(), convolution_of(kernel, stride)
        if dense:
            convolved = stacked(densely(convolution, image, seen), visible)
        else:
            convolved = tokens.convolve(convolution, tokens.voxels(image))
        weights = torch.randn(
            convolved.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
        (convolved * weights).sum().backward()
        assert image.grad is not None and (image.grad[~seen.expand_as(image)] == 0).all()
        gradients.append((image.grad, convolution.weight.grad))
    for expected, found in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, rtol=1e-6, atol=CLOSE)


def test_beside_a_hole_by_hand() -> None:
    # Tokens of one voxel in a row, of which the third is hidden; the kernel adds a voxel and its neighbours.
    image = torch.tensor([1.0, 2, 99, 4, 5]).view(1, 1, 1, 1, 5)
    visible = torch.tensor([[[[True, True, False, True, True]]]])
    adding = nn.Conv3d(1, 1, (1, 1, 3), padding=(0, 0, 1), bias=False)
    nn.init.ones_(adding.weight)
    tokens = VisibleTokens(visible)
    found = tokens.convolve(adding, tokens.voxels(image))
    # at the border of the image a zero counts: 1 + 2; beside the hole two of three voxels are seen: 3 * 3 / 2
    assert found.flatten().tolist() == pytest.approx([3, 4.5, 13.5, 9])


@pytest.mark.parametrize(("grid", "token", "kernel", "stride"), LAYOUTS)
def test_the_mean_of_a_constant_image_is_the_same_beside_a_hole(
    grid: Size, token: Size, kernel: Size, stride: Size
) -> None:
    visible, mean = some_visible(grid), convolution_of(kernel, stride)
    nn.init.constant_(mean.weight, 1 / math.prod(kernel))
    image = torch.ones_like(image_for(grid, token))
    tokens = VisibleTokens(visible)
    found, whole = tokens.convolve(mean, tokens.voxels(image)), stacked(mean(image), visible)
    inner = whole > 1.999  # two channels of ones; less where the kernel leaves the image
    assert torch.allclose(found[inner], whole[inner], rtol=0, atol=CLOSE)


STAGES = {
    "tokens of 2 x 4 x 4": [(ONE, (1, 3, 3)), ((1, 2, 2), (3, 3, 3)), ((2, 2, 2), (3, 3, 3))],
    "tokens of 3 x 5 x 1": [(ONE, (1, 3, 3)), ((3, 1, 1), (3, 3, 5)), ((1, 5, 1), (3, 5, 3))],
}


@pytest.mark.parametrize("strides", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("grid", [(2, 3, 4), (3, 1, 2)])
def test_with_everything_visible_the_stem_is_the_plain_one(
    strides: list[tuple[Size, Size]], grid: Size
) -> None:
    torch.manual_seed(0)
    stages = [StemStage(channels=3 + n, stride=s, kernel=k) for n, (s, k) in enumerate(strides)]
    stem = Stem(2, stages).double()
    sizes = [math.prod(axis) for axis in zip(*(s for s, _ in strides), strict=True)]
    image = image_for(grid, (sizes[0], sizes[1], sizes[2]))
    everything = torch.ones(2, *grid, dtype=torch.bool)
    for plain, tokenwise in zip(stem(image), stem(image, VisibleTokens(everything)), strict=True):
        assert torch.allclose(tokenwise, stacked(plain, everything), rtol=0, atol=1e-11)


def test_voxels_by_hand() -> None:
    image = torch.arange(16.0).view(1, 1, 2, 2, 4)  # tokens of 2 x 1 x 2 voxels on a grid of 1 x 2 x 2
    visible = torch.tensor([[[[False, True], [True, False]]]])
    voxels = VisibleTokens(visible).voxels(image)
    assert voxels[0, 0].tolist() == [[[2, 3]], [[10, 11]], [[4, 5]], [[12, 13]]]


@pytest.mark.parametrize(("grid", "token"), [((2, 3, 4), (3, 5, 1)), ((4, 1, 2), (1, 2, 3)), (ONE, ONE)])
def test_voxels_come_from_where_the_tokens_are(grid: Size, token: Size) -> None:
    image, visible = image_for(grid, token), some_visible(grid)
    number = torch.arange(image.numel()).view(image.shape)
    tokens = VisibleTokens(visible)
    assert torch.equal(tokens.voxels(number), stacked(number, visible))
    crop = F.pad(number, (1, 2, 3, 0, 2, 1))[:, :, 2:-1, 3:, 1:-2]
    assert not crop.is_contiguous() or crop.numel() == 2
    assert torch.equal(tokens.voxels(crop), stacked(number, visible))


def test_dense_by_hand() -> None:
    visible = torch.tensor([[[[False, True], [True, False]]]])  # tokens of 2 x 1 x 2 voxels
    features = torch.tensor([[[2.0, 3]], [[10, 11]], [[4, 5]], [[12, 13]]])[None, None]
    dense = VisibleTokens(visible).dense(features)
    assert dense[0, 0].tolist() == [[[0, 0, 2, 3], [4, 5, 0, 0]], [[0, 0, 10, 11], [12, 13, 0, 0]]]


DENSE = [((2, 3, 4), (3, 5, 1)), ((4, 1, 2), (1, 2, 3)), ((1, 5, 6), ONE), (ONE, (2, 3, 4))]


@pytest.mark.parametrize(("grid", "token"), DENSE)
@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_dense_puts_voxels_back_with_zeros_elsewhere(grid: Size, token: Size, share: float) -> None:
    image, visible = image_for(grid, token), some_visible(grid, share=share)
    tokens, seen = VisibleTokens(visible), voxels_of(visible, token)
    spoilt = torch.where(seen, image, float("nan"))
    assert torch.equal(tokens.dense(tokens.voxels(spoilt)), torch.where(seen, image, 0.0))


@pytest.mark.parametrize(("grid", "token"), DENSE)
def test_voxels_are_the_inverse_of_dense(grid: Size, token: Size) -> None:
    visible = some_visible(grid)
    tokens = VisibleTokens(visible)
    features = torch.randn(2, 3, tokens.index.shape[1] * token[0], *token[1:])
    assert torch.equal(tokens.voxels(tokens.dense(features)), features)


@pytest.mark.parametrize("stride", [(3, 5, 1), (1, 5, 1), (3, 1, 1)])
def test_what_a_stride_made_smaller_is_put_back_at_its_own_scale(stride: Size) -> None:
    grid, token = (3, 2, 4), (3, 5, 1)
    image, visible, convolution = image_for(grid, token), some_visible(grid), convolution_of(ONE, stride)
    tokens, left = VisibleTokens(visible), (token[0] // stride[0], token[1] // stride[1], token[2])
    seen = voxels_of(visible, left)
    expected = densely(convolution, image, voxels_of(visible, token)) * seen
    found = tokens.dense(tokens.convolve(convolution, tokens.voxels(image)))
    assert torch.allclose(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("grid", "token"), DENSE)
def test_the_gradient_of_dense_is_that_of_the_visible_voxels(grid: Size, token: Size) -> None:
    image, visible = image_for(grid, token), some_visible(grid)
    tokens = VisibleTokens(visible)
    features = tokens.voxels(image).clone().requires_grad_()
    weights = torch.randn(image.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (tokens.dense(features) * weights).sum().backward()
    assert features.grad is not None and torch.equal(features.grad, stacked(weights, visible))


@pytest.mark.parametrize(("grid", "token"), DENSE)
def test_what_is_added_to_an_image_is_added_where_it_lies(grid: Size, token: Size) -> None:
    image, visible = image_for(grid, token), some_visible(grid)
    tokens = VisibleTokens(visible)
    features = tokens.voxels(torch.randn_like(image)).requires_grad_()
    image.requires_grad_()
    found = tokens.add(image, features)
    assert torch.equal(found, image + tokens.dense(features))
    weights = torch.randn_like(image)
    (found * weights).sum().backward()
    assert features.grad is not None and torch.equal(features.grad, stacked(weights, visible))
    assert image.grad is not None and torch.equal(image.grad, weights)


def test_features_are_channels_last_in_memory() -> None:
    tokens = VisibleTokens(some_visible((2, 3, 4)))
    voxels = tokens.voxels(image_for((2, 3, 4), (3, 5, 1)))
    convolved = tokens.convolve(convolution_of((3, 3, 3), ONE), voxels)
    for features in (voxels, convolved, tokens.dense(voxels)):
        assert features.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_index_counts_along_x_first_and_ascends() -> None:
    visible = torch.zeros(2, 2, 3, 4, dtype=torch.bool)
    for place in ((0, 1, 2, 3), (0, 0, 1, 0), (0, 1, 0, 2), (1, 0, 0, 1), (1, 0, 2, 0), (1, 1, 1, 1)):
        visible[place] = True
    assert VisibleTokens(visible).index.tolist() == [[4, 14, 23], [1, 8, 17]]


@pytest.mark.parametrize("grid", [(2, 3, 4), (5, 1, 2), (1, 1, 3)])
def test_the_index_finds_the_visible_tokens_of_a_flattened_grid(grid: Size) -> None:
    visible = some_visible(grid, batch=3)
    index = VisibleTokens(visible).index
    again = torch.zeros(3, math.prod(grid), dtype=torch.bool).scatter(1, index, True)
    assert torch.equal(again.view(visible.shape), visible)
    assert (index.diff(dim=1) > 0).all()


def test_images_of_a_batch_do_not_touch() -> None:
    grid, token = (3, 2, 4), (3, 5, 1)
    image, visible, convolution = image_for(grid, token), some_visible(grid), convolution_of((5, 3, 5), ONE)
    both, second = VisibleTokens(visible), VisibleTokens(visible[1:])
    whole = both.convolve(convolution, both.voxels(image))
    alone = second.convolve(convolution, second.voxels(image[1:]))
    assert torch.allclose(whole[1:], alone, rtol=0, atol=1e-12)


def test_unequal_numbers_of_visible_tokens_are_refused() -> None:
    visible = some_visible((2, 3, 4))
    visible[1] = True
    with pytest.raises(ValueError, match="equally many"):
        VisibleTokens(visible)


def test_nothing_visible_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        VisibleTokens(torch.zeros(2, 2, 3, 4, dtype=torch.bool))


@pytest.mark.parametrize(("grid", "token", "kernel", "stride"), LAYOUTS)
def test_in_half_precision_it_is_the_same_to_two_digits(
    grid: Size, token: Size, kernel: Size, stride: Size
) -> None:
    tokens = VisibleTokens(some_visible(grid))
    convolution, features = convolution_of(kernel, stride), tokens.voxels(image_for(grid, token))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = tokens.convolve(convolution, features)
    whole = tokens.convolve(convolution, features)
    assert (half.float() - whole).abs().max() < 0.02 * whole.abs().max()
