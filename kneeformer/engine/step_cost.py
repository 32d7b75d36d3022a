"""Cost of a training step, measured on this machine and by formula."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import torch
from torch import nn

from kneeformer.config import Cost, CropConfiguration
from kneeformer.engine.batch import Batch
from kneeformer.engine.optimiser import make_optimiser
from kneeformer.engine.training_run import Objective
from kneeformer.networks.compute import autocast, to_device
from kneeformer.planning.budget import Budget
from kneeformer.planning.step_cost import step_cost
from kneeformer.transforms.token_masking import draw_visible


def estimate_step(
    network: nn.Module,
    configuration: CropConfiguration,
    budget: Budget,
    outputs: int = 1,
) -> Cost:
    """Cost of a step by the formulas of `kneeformer.planning.step_cost`.

    Args:
        budget: only its speed is used, not its memory.
        outputs: classes or regions that are predicted.
    """
    training, settings = configuration.training, configuration.network
    channels = len(configuration.preprocessing.normalisation)
    cost = step_cost(settings, channels, outputs, budget.bfloat16)
    cost = replace(cost, parameters=sum(p.numel() for p in network.parameters()))
    voxels = math.prod(training.crop)
    size = training.batch_size, voxels, voxels // math.prod(settings.token)
    return Cost(
        device=budget.device,
        memory_mb=round(cost.memory_gb(*size) * 1024),
        seconds_per_step=round(cost.seconds(*size) / budget.speed, 3),
    )


def measure_step(
    network: nn.Module,
    objective: Objective,
    channels: int,
    configuration: CropConfiguration,
    device: torch.device,
) -> Cost:
    """Run one real training step on random voxels: its seconds and its peak memory.

    The memory is this process's on a CPU, the device allocator's on a GPU. A step on a few tokens goes
    before it, to pay what only first steps cost. On a CPU it runs on one core, and the seconds are divided by
    the number of cores: the time of several threads would depend on what else the machine does.
    """
    settings = configuration.training
    network = to_device(network, device).train()
    optimiser = make_optimiser(network, settings)
    few = tuple(min(c, 2 * t) for c, t in zip(settings.crop, configuration.network.token, strict=True))
    with _one_core(device) as cores:
        for size in (few, settings.crop):
            batch = _random_batch(configuration, channels, size, device)
            with PeakMemory(device) as peak:
                started = _seconds(device)
                with autocast(device, settings.precision):
                    loss = objective.loss(network, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                seconds = (_seconds(device) - started) / cores
    return Cost(device=str(device), memory_mb=round(peak.megabytes), seconds_per_step=round(seconds, 3))


@contextmanager
def _one_core(device: torch.device) -> Iterator[int]:
    """Compute on one core of a CPU; yields how many there are."""
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    if cores > 1:
        torch.set_num_threads(1)
    try:
        yield cores
    finally:
        if cores > 1:
            torch.set_num_threads(cores)


def _seconds(device: torch.device) -> float:
    """A clock of the device's own work."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


class PeakMemory:
    """The most memory held while a block runs: from CUDA's allocator, otherwise sampled often.

    On a CPU it is the process's; on Apple's MPS the driver's, part of which is not counted as the process's.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.megabytes = 0.0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.megabytes = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            self._over.set()
            self._watcher.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            mps = self.device.type == "mps"
            held = torch.mps.driver_allocated_memory() if mps else process.memory_info().rss
            self.megabytes = max(self.megabytes, held / 2**20)
            if self._over.wait(0.005):
                break


def _random_batch(
    configuration: CropConfiguration, channels: int, crop: tuple[int, ...], device: torch.device
) -> Batch:
    size = configuration.training.batch_size
    image = torch.randn(size, channels, *crop, device=device)
    batch = {
        "image": image,
        "labels": (image[:, 0] > 1).to(torch.int16),
        "to_patient": torch.eye(3, 4, device=device).repeat(size, 1, 1),
    }
    if configuration.masking is not None:
        z, y, x = (c // t for c, t in zip(crop, configuration.network.token, strict=True))
        visible = draw_visible(np.random.default_rng(0), (z, y, x), configuration.masking)
        batch["visible"] = torch.from_numpy(visible).to(device).expand(size, -1, -1, -1)
    return batch
