"""Whether a training fits the memory of this machine: by formula, before anything is allocated.

A plan may come from a larger machine, or from a slip of the hand in one of many numbers whose product counts.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from kneeformer.errors import KneeformerError
from kneeformer.plan import BoneConfiguration, CropConfiguration
from kneeformer.planning.budget import machine_memory_gb
from kneeformer.training.measure import estimate_step

_UNSURE = 3.0  # the formulas are good to this factor: what does not fit by more cannot fit


def refuse_too_large(
    build: Callable[[], nn.Module], configuration: CropConfiguration | BoneConfiguration, device: torch.device
) -> None:
    """Raises KneeformerError: a training step takes far more memory than the device has.

    Args:
        build: makes the network; it is only counted here, and takes no memory.
    """
    there = _memory_gb(device)
    try:
        with torch.device("meta"):
            network = build()
    except RuntimeError as fault:  # of a tensor with more bytes than can be counted
        raise KneeformerError(f"the network does not fit the {there:.1f} GB of {device}: {fault}") from fault
    needed = needed_gb(network, configuration, device)
    if needed <= _UNSURE * there:
        return
    training, parameters = configuration.training, sum(p.numel() for p in network.parameters())
    raise KneeformerError(
        f"a training step takes about {needed:,.0f} GB, and {device} has {there:.1f} GB: the network has "
        f"{parameters / 1e6:,.1f} million parameters, and a batch is {training.batch_size} x "
        f"{' x '.join(map(str, training.crop))} voxels; lower training.batch_size, training.crop or the "
        f"widths in the plan or with --set, or plan anew on this machine with kf_plan"
    )


def needed_gb(
    network: nn.Module, configuration: CropConfiguration | BoneConfiguration, device: torch.device
) -> float:
    """Memory of a training step in GiB, by formula; of the network only sizes are read."""
    if isinstance(configuration, CropConfiguration):
        return estimate_step(network, configuration, device).memory_mb / 1024
    kept = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return float(kept + 12 * learnt + 4 * _bone_values(configuration)) / 2**30


def _bone_values(configuration: BoneConfiguration) -> int:
    """Numbers held of a batch: bones and their completions, and maps at half the resolution."""
    if not configuration.by_steps:
        return 0
    prior, locnet = configuration.prior, configuration.registration.locnet
    width = prior.code.width if prior is not None else locnet.width if locnet is not None else 0
    return (
        configuration.training.batch_size
        * math.prod(configuration.preprocessing.grid)
        * (6 + 12 * width // 8)
    )


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 2**30
    return machine_memory_gb()
