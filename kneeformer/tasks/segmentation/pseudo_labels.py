"""Pseudo-labels: what a network predicts with confidence, and in as many pieces as labelled cases have."""

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
        (batch, z, y, x) int32; and float32, the probability of the label, of regions the smallest of any
        region's.
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
    """Hard labels (batch, z, y, x) int32: IGNORE_INDEX where they are not to be trusted.

    That is where the probability is below `confidence`, and in what is not one of the largest components of
    its structure.

    Args:
        components: how many a structure may have, for each of the scheme.
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
