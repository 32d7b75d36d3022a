"""AdamW or Adam, and the learning rate along a training that is counted in steps or in minutes."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from kneeformer.config import TrainingSettings


def make_optimiser(
    network: nn.Module, settings: TrainingSettings, pretrained: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or Adam with the decay in the gradient; vectors are not decayed.

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


def restore_moments(optimiser: torch.optim.Optimizer, saved: Any) -> None:
    """Give an optimiser the moments of a saved `state_dict`. Rates and decays stay those of the plan.

    Raises:
        ValueError: it has none, or those of other parameters.
    """
    if not isinstance(saved, dict):
        raise ValueError("holds no optimiser, as checkpoint_latest.pt does")
    groups = optimiser.state_dict()["param_groups"]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    try:
        same = [group["params"] for group in saved["param_groups"]] == [g["params"] for g in groups]
        fits = all(_are_moments_of(parameters[i], kept) for i, kept in saved["state"].items())
    except (LookupError, TypeError, AttributeError) as fault:
        raise ValueError("its optimiser is damaged") from fault
    if not (same and fits):
        raise ValueError("its optimiser is of another network, or not finite")
    optimiser.load_state_dict({"state": saved["state"], "param_groups": groups})


def _are_moments_of(parameter: Tensor, kept: dict[str, Tensor]) -> bool:
    shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
    found = {name: tensor.shape for name, tensor in kept.items()}
    return found == shapes and all(t.is_floating_point() and bool(t.isfinite().all()) for t in kept.values())


def set_rates(optimiser: torch.optim.Optimizer, settings: TrainingSettings, step: int, share: float) -> float:
    """Set the learning rates of a step, and return that of new parameters.

    Frozen parameters are left out of the backward pass. A network that is entirely pre-trained is not frozen.

    Args:
        step, share: as in `learning_rate`.
    """
    waits = not all(group["pretrained"] for group in optimiser.param_groups)
    frozen = waits and is_frozen(settings, step, share)
    rate = learning_rate(settings, step, share)
    tuned = fine_tuning_rate(settings, step, share, waits)
    for group in optimiser.param_groups:
        group["lr"] = tuned if group["pretrained"] else rate
        for parameter in group["params"]:
            parameter.requires_grad_(not (frozen and group["pretrained"]))
    return rate


def learning_rate(settings: TrainingSettings, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine that reaches zero when the training ends.

    The warm-up takes `warmup_steps`, but no more than a tenth of the training.

    Args:
        step: counted from 0.
        share: finished part of the training, 0 to 1, by steps or by the clock.
    """
    warmup = _at_most_a_tenth(settings.warmup_steps, step, share)
    return _rate(settings.learning_rate, warmup, step, share)


def is_frozen(settings: TrainingSettings, step: int, share: float) -> bool:
    """True while pre-trained parameters are frozen: for `frozen_steps`, but at most a tenth of all steps."""
    tuning = settings.fine_tuning
    return tuning is not None and step < _at_most_a_tenth(tuning.frozen_steps, step, share)


def fine_tuning_rate(settings: TrainingSettings, step: int, share: float, waits: bool = True) -> float:
    """As `learning_rate`, of pre-trained parameters: zero at first, then a warm-up to a rate of their own.

    Args:
        waits: True if there are new parameters to wait for; otherwise the warm-up begins at once.
    """
    tuning = settings.fine_tuning
    if tuning is None:
        return learning_rate(settings, step, share)
    frozen = _at_most_a_tenth(tuning.frozen_steps, step, share) if waits else 0
    warmup = _at_most_a_tenth(tuning.warmup_steps, step, share)
    return 0.0 if step < frozen else _rate(tuning.learning_rate, warmup, step - frozen, share)


def _at_most_a_tenth(steps: int, step: int, share: float) -> float:
    """Limit steps to a tenth of the training; its length follows from `share` after the first step."""
    return min(steps, 0.1 * step / share) if step > 0 and share > 0 else steps


def _rate(highest: float, warmup: float, step: float, share: float) -> float:
    if step < warmup:
        return highest * min(1.0, (step + 1) / warmup)
    return highest * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
