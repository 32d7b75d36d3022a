"""From the network's grid back to the native grid of the file, class by class."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size
from kneeformer.geometry.resampling import nearest_voxels
from kneeformer.labels import LabelScheme


def to_label_map(
    logits: Tensor, shape: Size, scheme: LabelScheme, thick_axis: int | None = None
) -> np.ndarray:
    """Label values on a grid of `shape`, made one output at a time: memory does not grow with the classes.

    Args:
        logits: (outputs, z, y, x) on the network's grid.
        shape: size of the box of the native grid that the logits cover.
        thick_axis: axis along which the nearest slice is taken, without interpolation.

    Returns:
        (z, y, x) uint8, or the first of uint16 and uint32 that holds every label.
    """
    labels = np.zeros(shape, np.min_scalar_type(max(scheme.painted)))
    if scheme.has_regions:
        for value, region in zip(scheme.painted, _resized(logits, shape, thick_axis), strict=True):
            labels[region.numpy() > 0] = value
        return labels
    best: Tensor | None = None
    for value, score in zip((0, *scheme.painted), _resized(logits, shape, thick_axis), strict=True):
        if best is None:
            best = score.clone()
            continue
        labels[(score > best).numpy()] = value
        torch.maximum(best, score, out=best)
    return labels


def to_probabilities(
    logits: Tensor, shape: Size, scheme: LabelScheme, thick_axis: int | None = None
) -> np.ndarray:
    """(outputs, *shape) float16: softmax over exclusive labels, a sigmoid for each region."""
    resized = torch.stack(list(_resized(logits, shape, thick_axis)))
    probabilities = resized.sigmoid() if scheme.has_regions else resized.softmax(0)
    return probabilities.to(torch.float16).numpy()


def _resized(logits: Tensor, shape: Size, thick_axis: int | None) -> Iterator[Tensor]:
    for output in logits:
        yield output if tuple(output.shape) == shape else _resize(output.float(), shape, thick_axis)


def _resize(volume: Tensor, shape: Size, thick_axis: int | None) -> Tensor:
    if thick_axis is not None and volume.shape[thick_axis] != shape[thick_axis]:
        old, new = volume.shape[thick_axis], shape[thick_axis]
        nearest = torch.from_numpy(nearest_voxels(old, new))
        volume = volume.index_select(thick_axis, nearest)
    if tuple(volume.shape) == shape:
        return volume
    return F.interpolate(volume[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]
