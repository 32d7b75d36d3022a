"""Pseudo-labels: confident predictions, in no more components than labelled cases have."""

import numpy as np
import torch
from torch import Tensor

from kneeformer.engine.losses import IGNORE_INDEX, region_targets
from kneeformer.geometry.components import largest_components
from kneeformer.labels import LabelScheme


def predicted_labels(logits: Tensor, scheme: LabelScheme) -> tuple[Tensor, Tensor]:
    """Label values and confidence of each voxel.

    Args:
        logits: (batch, outputs, z, y, x).

    Returns:
        (batch, z, y, x) int32 labels; and float32 probabilities of the labels, for regions the smallest of
        all regions.
    """
    if scheme.has_regions:
        probabilities = logits.float().sigmoid()
        labels = torch.zeros_like(logits[:, 0], dtype=torch.int32)
        for value, region in zip(scheme.painted, (probabilities > 0.5).unbind(1), strict=True):
            labels[region] = value
        return labels, torch.maximum(probabilities, 1 - probabilities).amin(1)
    confidence, winner = logits.float().softmax(1).max(1)
    values = torch.tensor((0, *scheme.painted), dtype=torch.int32, device=logits.device)
    return values[winner], confidence


def pseudo_labels(
    logits: Tensor, scheme: LabelScheme, confidence: float, components: tuple[int, ...]
) -> Tensor:
    """Hard labels (batch, z, y, x) int32, with IGNORE_INDEX where they are not trusted.

    Not trusted are voxels with a probability below `confidence`, and those outside the largest components of
    their structure.

    Args:
        components: number of components that each structure of the scheme may have.
    """
    labels, probabilities = predicted_labels(logits, scheme)
    trusted = probabilities >= confidence
    structures = region_targets(labels, scheme).cpu().numpy()
    small = [_not_among_the_largest(masks, components) for masks in structures]
    trusted &= ~torch.from_numpy(np.stack(small)).to(trusted.device)
    return torch.where(trusted, labels, IGNORE_INDEX)


def _not_among_the_largest(masks: np.ndarray, components: tuple[int, ...]) -> np.ndarray:
    """Voxels (z, y, x) that lie in a smaller component of any of the masks (structures, z, y, x)."""
    smaller = [mask & ~largest_components(mask, n) for mask, n in zip(masks, components, strict=True)]
    return np.asarray(np.any(smaller, 0))
