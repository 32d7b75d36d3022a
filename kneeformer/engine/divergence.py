"""Errors of a training that diverged: a loss, gradient or weight that is not finite, and its cause."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from kneeformer.engine.checkpoint import is_finite
from kneeformer.errors import KneeformerError

_REMEDY = "lower training.learning_rate or set training.precision=fp32, then resume with --c"


def divergence(
    folder: Path, what: str, step: int, network: nn.Module, batch: Mapping[str, Tensor]
) -> KneeformerError:
    """Return the error for a step whose loss or gradient is not a number, naming its cause.

    Args:
        what: "loss" or "gradient".
        step: number of the step, from 1.
        batch: tensors by name.
    """
    where = f"{folder}: the {what} is not a number at step {step}"
    if broken := _broken_weights(network):
        return KneeformerError(f"{where}: weights are not before it ({broken[0]}); {_REMEDY}")
    if unread := [key for key, part in batch.items() if not is_finite(part)]:
        return KneeformerError(
            f"{where}: its batch holds NaN or infinite values ({', '.join(unread)}), so prepared cases "
            f"do; prepare them again with kf_preprocess"
        )
    return KneeformerError(f"{where}; {_REMEDY}")


def refuse_broken_weights(folder: Path, network: nn.Module, step: int) -> None:
    """Raises KneeformerError: weights are NaN or infinite after a step; no checkpoint may hold them."""
    if broken := _broken_weights(network):
        raise KneeformerError(
            f"{folder}: weights are not numbers after step {step} ({broken[0]}); "
            f"lower training.learning_rate, then resume with --c"
        )


def _broken_weights(network: nn.Module) -> list[str]:
    return [name for name, weights in network.named_parameters() if not is_finite(weights)]
