"""AdamW, and the learning rate along a training that is counted in steps or in minutes."""

import math

import torch
from torch import nn

from kneeformer.plan import TrainingSettings


def make_optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); vectors (biases, norms) are not decayed."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.98), fused=fused)


def learning_rate(settings: TrainingSettings, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine that reaches zero when the training ends.

    Args:
        step: counted from 0.
        share: part of the training that is over, 0 to 1, by steps or by the clock. The warm-up counts
            steps alone, so the first steps do not depend on the clock.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
