"""Losses of dense outputs. Voxels labelled IGNORE_INDEX are left out of all of them.

When several ranks share a batch, each has the loss of the whole batch: sums over voxels are `pooled`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.labels import LabelScheme
from kneeformer.networks.ranks import pooled
from kneeformer.networks.ssim import ssim

IGNORE_INDEX = -1  # label of voxels outside the image, and of the ignore label, in a training batch


class DiceCrossEntropy:
    """Soft Dice over the batch (Milletari et al. 2016; Drozdzal et al. 2016) plus cross entropy, equal parts.

    Exclusive labels: softmax, the background left out of the Dice. Regions: a sigmoid each.
    """

    def __init__(self, scheme: LabelScheme) -> None:
        self.scheme = scheme

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits (batch, outputs, z, y, x), labels (batch, z, y, x) integers -> scalar float32."""
        logits = logits.float()
        counted = labels != IGNORE_INDEX
        targets = region_targets(labels, self.scheme)
        if self.scheme.has_regions:
            entropies = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").mean(1)
            entropy = (entropies * counted).sum()
            probabilities = logits.sigmoid()
        else:
            log_probabilities = F.log_softmax(logits, 1)
            classes = class_indices(labels, self.scheme)
            entropy = F.nll_loss(log_probabilities, classes, ignore_index=IGNORE_INDEX, reduction="sum")
            probabilities = log_probabilities.exp()[:, 1:]
        voxels = pooled(counted.sum()).clamp(min=1)
        return pooled(entropy) / voxels + 1 - soft_dice(probabilities, targets, counted)


class ProbabilityError:
    """Squared error between probabilities and label masks, optionally with (1 - SSIM): the knee paper."""

    def __init__(self, scheme: LabelScheme, with_ssim: bool) -> None:
        self.scheme, self.with_ssim = scheme, with_ssim

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As DiceCrossEntropy."""
        logits = logits.float()
        counted = (labels != IGNORE_INDEX).unsqueeze(1)
        probabilities = logits.sigmoid() if self.scheme.has_regions else logits.softmax(1)[:, 1:]
        targets = region_targets(labels, self.scheme).float() * counted
        probabilities = probabilities * counted
        error = pooled((probabilities - targets).square().sum())
        error = error / (pooled(counted.sum()) * targets.shape[1]).clamp(min=1)
        return error + 1 - ssim(probabilities, targets) if self.with_ssim else error


def segmentation_loss(name: str, scheme: LabelScheme) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a plan names for label maps: "dice_ce", "mse" or "ssim_mse"."""
    return DiceCrossEntropy(scheme) if name == "dice_ce" else ProbabilityError(scheme, name == "ssim_mse")


def soft_dice(probabilities: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Mean soft Dice over channels, voxels of the whole batch pooled.

    Args:
        probabilities: (batch, channels, z, y, x) in [0, 1].
        targets: the same shape, boolean.
        counted: (batch, z, y, x) boolean.
    """
    probabilities = probabilities * counted.unsqueeze(1)
    over = (0, 2, 3, 4)
    overlap = pooled((probabilities * targets).sum(over))
    size = pooled(probabilities.sum(over) + targets.sum(over))
    return ((2 * overlap + 1e-5) / (size + 1e-5)).mean()


def region_targets(labels: Tensor, scheme: LabelScheme) -> Tensor:
    """(batch, z, y, x) label values -> (batch, structures, z, y, x) boolean, one channel per structure."""
    masks = [torch.stack([labels == value for value in values]).any(0) for values in scheme.values]
    return torch.stack(masks, 1)


def class_indices(labels: Tensor, scheme: LabelScheme) -> Tensor:
    """Map label values (batch, z, y, x) to output channels 0, 1, 2, ... as int64; IGNORE_INDEX stays."""
    numbered = tuple((channel,) for channel in range(1, len(scheme.values) + 1))
    if scheme.values == numbered and scheme.background == (0,):
        return labels.long()
    indices = torch.where(labels == IGNORE_INDEX, IGNORE_INDEX, 0).long()
    for channel, group in enumerate(scheme.values, 1):
        for value in group:
            indices[labels == value] = channel
    return indices
