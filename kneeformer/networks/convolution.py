"""3D convolution by the fastest of PyTorch's implementations that is correct."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size


def convolve(features: Tensor, weight: Tensor, stride: tuple[int, ...], padding: Size) -> Tensor:
    """Convolution of features that are padded with zeros on each side.

    Shapes: features (batch, in, z, y, x), weight (out, in, kz, ky, kx) -> (batch, out, ...).
    """
    depth = weight.shape[2]
    if depth == 1 and stride[0] == 1 and padding[0] == 0:
        return _slice_by_slice(features, weight, stride, padding)
    if features.shape[2] < depth:
        # In bfloat16 oneDNN reads memory that it never wrote for the gradient of weights that are deeper than
        # the image (torch 2.13), unless zeros along z are padded beforehand.
        features = F.pad(features, (0, 0, 0, 0, padding[0], padding[0]))
        padding = (0, padding[1], padding[2])
    if _misses_onednn(features):
        return torch.mkldnn_convolution(features, weight, None, padding, stride, (1, 1, 1), 1)
    return F.conv3d(features, weight, None, stride, padding)


def _slice_by_slice(features: Tensor, weight: Tensor, stride: tuple[int, ...], padding: Size) -> Tensor:
    """A kernel of one slice, applied to all slices as a batch of images; channels last, they are not copied.

    Without AVX-512, oneDNN 3.12 takes 1.4 to 3 times as long for the weights' gradient in 3D.
    """
    batch, depth = features.shape[0], features.shape[2]
    slices = features.transpose(1, 2).flatten(0, 1)
    convolved = F.conv2d(slices, weight[:, :, 0], None, stride[1:], padding[1:])
    return convolved.view(batch, depth, *convolved.shape[1:]).transpose(1, 2)


def _misses_onednn(features: Tensor) -> bool:
    """True for one image in float32 on a CPU.

    Where that is small, F.conv3d computes without oneDNN (`use_mkldnn` of ATen), six times slower.
    """
    return (
        len(features) == 1
        and features.device.type == "cpu"
        and features.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
