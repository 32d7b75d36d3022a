"""The tensors of a training step."""

from torch import Tensor

Batch = dict[str, Tensor]  # tensors by name, each of them (b, ...)
