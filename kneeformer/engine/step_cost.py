"""Cost of a training step, measured on this machine and by formula."""

import math
import threading
import time

import numpy as np
import psutil
import torch
from torch import nn

from kneeformer.config import Cost, CropConfiguration
from kneeformer.engine.loop import Batch, Objective
from kneeformer.engine.optimiser import make_optimiser
from kneeformer.networks.compute import autocast, half_precision_helps, to_device
from kneeformer.transforms.token_masking import draw_visible


def estimate_step(network: nn.Module, configuration: CropConfiguration, device: torch.device) -> Cost:
    """Cost of a step by formula: features held for the backward pass, and weights four times over.

    Each stem stage and its mirror in the decoder keep about six maps, a transformer block eight of tokens and
    two of its MLP; the time is that of their
    convolutions at a rate typical of the device. Good to a factor of two or three, hence `measure_step`.
    """
    training, stem = configuration.training, configuration.network.stem
    bytes_per_value = 2 if half_precision_helps(device) else 4
    voxels = training.batch_size * math.prod(training.crop)
    values, operations = 4.0 * voxels, 0.0  # image, labels and outputs
    for stage in stem:
        voxels //= math.prod(stage.stride)
        values += 6 * voxels * stage.channels
        operations += 2 * 3 * 3 * voxels * stage.channels**2 * math.prod(stage.kernel)
    blocks = configuration.network
    values += voxels * blocks.width * blocks.depth * (8 + 2 * blocks.mlp_ratio)
    parameters = sum(p.numel() for p in network.parameters())
    rate = 2e11 if device.type == "cpu" else 4e13
    return Cost(
        device=str(device),
        memory_mb=round((values * bytes_per_value + 16 * parameters) / 2**20 + 300),
        seconds_per_step=round(operations / rate, 3),
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
    before it and takes what only first steps take.
    """
    settings = configuration.training
    network = to_device(network, device).train()
    optimiser = make_optimiser(network, settings)
    few = tuple(min(c, 2 * t) for c, t in zip(settings.crop, configuration.network.token, strict=True))
    for size in (few, settings.crop):
        batch = _random_batch(configuration, channels, size, device)
        started = time.perf_counter()
        with PeakMemory(device) as peak:
            with autocast(device, settings.precision):
                loss = objective.loss(network, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    return Cost(device=str(device), memory_mb=round(peak.megabytes), seconds_per_step=round(seconds, 3))


class PeakMemory:
    """The most memory held while a block runs: a GPU's by its allocator, a process's by looking often."""

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
        while not self._over.wait(0.005):
            self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)


def _random_batch(
    configuration: CropConfiguration, channels: int, crop: tuple[int, ...], device: torch.device
) -> Batch:
    size = configuration.training.batch_size
    image = torch.randn(size, channels, *crop, device=device)
    batch = {
        "image": image,
        "labels": (image[:, 0] > 1).to(torch.int16),
        "centre_mm": torch.zeros(size, 3, device=device),
    }
    if configuration.masking is not None:
        z, y, x = (c // t for c, t in zip(crop, configuration.network.token, strict=True))
        visible = draw_visible(np.random.default_rng(0), (z, y, x), configuration.masking)
        batch["visible"] = torch.from_numpy(visible).to(device).expand(size, -1, -1, -1)
    return batch
