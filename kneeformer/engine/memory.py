"""Check that a training fits the memory of this machine: by formula, before anything is allocated.

A plan may come from a larger machine, or from a slip of the hand in one of many numbers whose product counts.
"""

from collections.abc import Callable

import torch
from torch import nn

from kneeformer.config import TrainingSettings
from kneeformer.errors import KneeformerError
from kneeformer.planning.budget import machine_memory_gb

_UNSURE = 3.0  # the formulas are good to this factor: what does not fit by more cannot fit


def refuse_too_large(
    build: Callable[[], nn.Module],
    needed_gb: Callable[[nn.Module], float],
    training: TrainingSettings,
    device: torch.device,
) -> None:
    """Raises KneeformerError: a training step takes far more memory than the device has.

    Args:
        build: makes the network; it is only counted here, and takes no memory.
        needed_gb: by a training step with that network, in GiB.
    """
    there = _memory_gb(device)
    try:
        with torch.device("meta"):
            network = build()
    except RuntimeError as fault:  # of a tensor with more bytes than can be counted
        raise KneeformerError(f"the network does not fit the {there:.1f} GB of {device}: {fault}") from fault
    needed = needed_gb(network)
    if needed <= _UNSURE * there:
        return
    parameters = sum(p.numel() for p in network.parameters())
    raise KneeformerError(
        f"a training step takes about {needed:,.0f} GB, and {device} has {there:.1f} GB: the network has "
        f"{parameters / 1e6:,.1f} million parameters, and a batch is {training.batch_size} x "
        f"{' x '.join(map(str, training.crop))} voxels; lower training.batch_size, training.crop or the "
        f"widths in the plan or with --set, or plan again on this machine with kf_plan"
    )


def training_state_gb(network: nn.Module, values: int) -> float:
    """Memory in GiB of a network, of its gradients and moments, and of additional float32 values."""
    kept = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return float(kept + 12 * learnt + 4 * values) / 2**30


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 2**30
    return machine_memory_gb()
