"""Convolutions against PyTorch's own in double precision."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size
from kneeformer.networks.convolution import convolve

LAST = torch.channels_last_3d


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
        ((5, 3, 3), (1, 1, 1), (2, 1, 1)),  # deeper than the image
        ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
        ((1, 3, 5), (1, 2, 1), (0, 1, 2)),
        ((1, 3, 3), (2, 2, 2), (0, 0, 0)),
    ],
)
def test_values_and_gradients_are_those_of_conv3d(
    kernel: Size, stride: Size, padding: Size, batch: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    image = torch.randn(batch, 3, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, *kernel, dtype=torch.float64, requires_grad=True)
    expected = F.conv3d(image, weight, None, stride, padding)
    of_output = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (image, weight), of_output)

    single = [part.detach().float().contiguous(memory_format=layout) for part in (image, weight)]
    inputs = [part.requires_grad_() for part in single]
    found = convolve(inputs[0], inputs[1], stride, padding)
    assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, inputs, of_output.float()), gradients, strict=True):
        assert_close(one, other)
    with torch.inference_mode():
        assert_close(convolve(inputs[0], inputs[1], stride, padding), expected)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert torch.allclose(found.double(), expected, atol=2e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("depth", [1, 3])
def test_features_stay_channels_last(batch: int, depth: int) -> None:
    image, weight = torch.randn(batch, 4, 3, 6, 8), torch.randn(8, 4, depth, 3, 3)
    image, weight = (part.contiguous(memory_format=LAST) for part in (image, weight))
    convolved = convolve(image, weight, (1, 1, 1), (depth // 2, 1, 1))
    assert convolved.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("depth", [1, 3])
def test_one_image_in_float32_is_convolved_by_onednn(depth: int) -> None:
    image, weight = torch.randn(1, 4, 3, 6, 8), torch.randn(8, 4, depth, 3, 3)
    with torch.profiler.profile() as profile:
        convolve(image, weight, (1, 1, 1), (depth // 2, 1, 1))
    assert "aten::mkldnn_convolution" in {event.key for event in profile.key_averages()}


@pytest.mark.parametrize(("depth", "kernel"), [(1, 3), (2, 3), (3, 5), (4, 3)])
def test_gradients_in_bfloat16_are_those_in_float32_however_thin_the_image(depth: int, kernel: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 16, kernel, 3, 3, requires_grad=True)
    image = torch.randn(1, 16, depth, 12, 14)
    gradients = []
    for half in (False, True):
        unwritten = [torch.full((n,), 3e30) for n in (1000, 5000, 20000, 60000) * 6]
        del unwritten  # what is allocated now holds these numbers
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            convolve(image, weight, (1, 1, 1), (kernel // 2, 1, 1)).float().square().sum().backward()
        assert weight.grad is not None
        gradients.append(weight.grad)
        weight.grad = None
    assert (gradients[0] - gradients[1]).abs().max() < 0.05 * gradients[0].abs().max()
