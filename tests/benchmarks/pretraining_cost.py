"""What hiding tokens saves: encoder alone and whole pre-training step, masked and dense, in one run.

    python tests/benchmarks/pretraining_cost.py PREPROCESSED/Dataset004_Hippocampus/kfPlans.json

The dense step is that of the same autoencoder with nothing left out: plain convolutions over the whole crop,
all tokens through the encoder, the same decoder and loss.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kneeformer.config import CropConfiguration
from kneeformer.engine.batch import Batch
from kneeformer.engine.optimiser import make_optimiser
from kneeformer.networks.compute import autocast, choose_device, to_device
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.networks.positions import points_in_patient
from kneeformer.networks.visible import VisibleTokens
from kneeformer.plans import read_plan
from kneeformer.tasks.registry import task_named
from kneeformer.transforms.token_masking import draw_visible


class Dense(nn.Module):
    """The autoencoder with every voxel through the stem and every token through the encoder."""

    def __init__(self, masked: MaskedAutoencoder) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, image: Tensor, to_patient: Tensor, visible: Tensor) -> Tensor:
        every = VisibleTokens(torch.ones_like(visible))
        z, y, x = visible.shape[1:]
        positions = points_in_patient((z, y, x), self.masked.token, to_patient)
        features = self.masked.stem(image)
        encoded = self.masked.encoder(features[-1].flatten(2).transpose(1, 2), positions)
        filled = self.masked.filler(encoded, positions, every).transpose(1, 2).unflatten(2, (z, y, x))
        voxels: Tensor = self.masked.decoder([*features[:-1], filled])
        return voxels


def seconds(work: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median of each piece of work, all of them in turn."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats + 1):
        for name, piece in work.items():
            started = time.perf_counter()
            piece()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def make_batch(configuration: CropConfiguration, channels: int, device: torch.device) -> Batch:
    assert configuration.masking is not None
    size, crop = configuration.training.batch_size, configuration.training.crop
    z, y, x = (c // t for c, t in zip(crop, configuration.network.token, strict=True))
    rng = np.random.default_rng(0)
    visible = np.stack([draw_visible(rng, (z, y, x), configuration.masking) for _ in range(size)])
    return {
        "image": torch.randn(size, channels, *crop, device=device),
        "labels": torch.zeros(size, *crop, dtype=torch.int16, device=device),
        "to_patient": torch.eye(3, 4, device=device).repeat(size, 1, 1),
        "visible": torch.from_numpy(visible).to(device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("-c", "--configuration", default="3d_mae")
    parser.add_argument("-device", default=None)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    plan, device = read_plan(arguments.plan), choose_device(arguments.device)
    configuration = plan.configuration(arguments.configuration)
    task = task_named(configuration.task)
    objective = task.objective(plan.dataset, configuration)
    batch = make_batch(configuration, len(plan.dataset.channel_names), device)
    network = task.network(plan.dataset, configuration)
    assert isinstance(network, MaskedAutoencoder)
    to_device(network, device).train()

    def step(model: nn.Module) -> Callable[[], None]:
        optimiser = make_optimiser(model, configuration.training)

        def run() -> None:
            with autocast(device, configuration.training.precision):
                loss = objective.loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            synchronise(device)

        return run

    def encode(share: Tensor) -> Callable[[], None]:
        index = VisibleTokens(share).index
        tokens = torch.randn(*index.shape, configuration.network.width, device=device)
        positions = torch.randn(*index.shape, 3, device=device)

        def run() -> None:
            with autocast(device, configuration.training.precision):
                network.encoder(tokens, positions).sum().backward()
            synchronise(device)

        return run

    visible = batch["visible"]
    taken = seconds(
        {
            "encoder, dense": encode(torch.ones_like(visible)),
            "encoder, masked": encode(visible),
            "step, dense": step(Dense(network)),
            "step, masked": step(network),
        },
        arguments.repeats,
    )
    tokens = visible[0].numel()
    print(f"{device}: {tokens} tokens a crop, {int(visible[0].sum())} visible, batch {len(visible)}")
    for name, time_taken in taken.items():
        print(f"  {name:<16} {1000 * time_taken:8.1f} ms")
    for part in ("encoder", "step"):
        print(f"  {part}: dense / masked = {taken[f'{part}, dense'] / taken[f'{part}, masked']:.2f}")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
