"""Transfer of weights from one network to another: matching tensors are loaded, and the rest is listed."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kneeformer.engine.checkpoint import refuse_not_finite
from kneeformer.errors import KneeformerError


@dataclass(frozen=True)
class Transfer:
    """Names of tensors: loaded unchanged, resized to other input channels, unused, and new.

    Attributes:
        unused: in the checkpoint, but not in the network or of another shape there.
        new: in the network, but not in the checkpoint or of another shape there; randomly initialised.
    """

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    @property
    def transferred(self) -> frozenset[str]:
        return frozenset([*self.loaded, *self.resized])

    @property
    def fine_tuned(self) -> frozenset[str]:
        """Names of the parameters that are frozen at first: all that were loaded but the decoder's."""
        return frozenset(name for name in self.transferred if not name.startswith("decoder."))

    def describe(self) -> str:
        """Describe the counts in one line, with the parts of the network that are randomly initialised."""
        parts = sorted({name.split(".")[0] for name in self.new})
        return (
            f"{len(self.loaded)} tensors loaded, {len(self.resized)} resized, {len(self.unused)} unused; "
            f"{len(self.new)} randomly initialised" + (f" ({', '.join(parts)})" if parts else "")
        )


def transfer(source: dict[str, Tensor], network: nn.Module, name: str) -> Transfer:
    """Copy the tensors of a checkpoint's network into another network.

    If the number of image channels differs, the first convolution takes the mean over the old ones, scaled so
    that the same image in every channel gives the same output. Other tensors of another shape are not loaded.

    Args:
        name: name of the checkpoint, for the error.

    Raises:
        KneeformerError: nothing fits, or what does is NaN or infinite.
    """
    outcome, target = Transfer(), network.state_dict()
    transferred: dict[str, Tensor] = {}
    first = next((key for key, tensor in target.items() if tensor.ndim == 5), None)
    for key, tensor in target.items():
        fitted = _fitted(source.get(key), tensor, of_image=key == first)
        if fitted is None:
            outcome.new.append(key)
            continue
        (outcome.loaded if fitted is source[key] else outcome.resized).append(key)
        transferred[key] = fitted
    refuse_not_finite(transferred, name)
    with torch.no_grad():
        for key, fitted in transferred.items():
            target[key].copy_(fitted)
    outcome.unused.extend(sorted(set(source) - outcome.transferred))
    if not outcome.transferred:
        raise KneeformerError(
            f"{name}: none of its tensors fits this network; it holds {', '.join(list(source)[:3])}, ... "
            f"and the network {', '.join(list(target)[:3])}, ... Train it with the same stem, width and heads"
        )
    return outcome


def _fitted(source: Tensor | None, target: Tensor, of_image: bool) -> Tensor | None:
    if source is None or source.is_floating_point() != target.is_floating_point():
        return None
    if source.shape == target.shape:
        return source
    resizable = of_image and source.ndim == 5
    if resizable and (source.shape[0], *source.shape[2:]) == (target.shape[0], *target.shape[2:]):
        return (source.sum(1, keepdim=True) / target.shape[1]).expand_as(target)
    return None
