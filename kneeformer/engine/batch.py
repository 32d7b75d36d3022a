"""The tensors of a training step."""

import torch
from torch import Tensor

Batch = dict[str, Tensor]  # tensors by name, each of them (b, ...)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; from pinned memory it is copied while the caller goes on."""
    return {name: part.to(device, non_blocking=True) for name, part in batch.items()}
