"""The tensors of a training step."""

import torch
from torch import Tensor

Batch = dict[str, Tensor]  # tensors by name, each of them (b, ...)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; to CUDA it is copied while the caller continues.

    On MPS the copy is waited for: MPS does not keep the source alive, and the batch could hold wrong numbers
    (https://github.com/pytorch/pytorch/issues/189690).
    """
    at_once = device.type == "cuda"
    return {name: part.to(device, non_blocking=at_once) for name, part in batch.items()}
