"""AdamW or Adam, and the learning rate along a training that is counted in steps or in minutes."""

import math
from collections.abc import Collection

import torch
from torch import nn

from kneeformer.plan import TrainingSettings


def make_optimiser(
    network: nn.Module, settings: TrainingSettings, pretrained: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or Adam whose decay is part of the gradient; no vector is decayed.

    Args:
        pretrained: names of parameters that are fine-tuned; their groups say so under "pretrained".
    """
    groups = [
        {
            "params": [
                p
                for name, p in network.named_parameters()
                if p.requires_grad and (name in pretrained, p.ndim > 1) == (old, matrix)
            ],
            "weight_decay": settings.weight_decay if matrix else 0.0,
            "pretrained": old,
        }
        for old in (False, True)
        for matrix in (True, False)
    ]
    fused = next(network.parameters()).device.type in ("cpu", "cuda")
    groups = [g for g in groups if g["params"]]
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, settings.learning_rate, fused=fused)
    return torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.98), fused=fused)


def learning_rate(settings: TrainingSettings, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine that reaches zero when the training ends.

    Args:
        step: counted from 0.
        share: part of the training that is over, 0 to 1, by steps or by the clock. The warm-up counts
            steps alone, so the first steps do not depend on the clock.
    """
    return _rate(settings.learning_rate, settings.warmup_steps, step, share)


def fine_tuning_rate(settings: TrainingSettings, step: int, share: float) -> float:
    """As `learning_rate`, of pre-trained parameters: zero at first, then a warm-up to a rate of their own."""
    tuning = settings.fine_tuning
    if tuning is None:
        return learning_rate(settings, step, share)
    if step < tuning.frozen_steps:
        return 0.0
    return _rate(tuning.learning_rate, tuning.warmup_steps, step - tuning.frozen_steps, share)


def _rate(highest: float, warmup_steps: int, step: int, share: float) -> float:
    if step < warmup_steps:
        return highest * (step + 1) / warmup_steps
    return highest * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
