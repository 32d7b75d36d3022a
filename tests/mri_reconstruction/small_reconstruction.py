"""A reconstruction configuration that a test can train, and such a training."""

import torch
from torch import nn

from kneeformer.config import NetworkSettings, StemStage, TrainingSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Objective
from kneeformer.geometry.aliases import Size
from kneeformer.tasks.mri_reconstruction.settings import (
    CascadeSettings,
    KSpaceSettings,
    ReconstructionConfiguration,
    SamplingSettings,
)


def configuration(crop: Size = (2, 32, 64)) -> ReconstructionConfiguration:
    """Two cascades, the first with a transformer of one block of width 12."""
    stem = (
        StemStage(channels=4, stride=(1, 1, 1), kernel=(1, 3, 3)),
        StemStage(channels=12, stride=(1, 8, 8), kernel=(1, 3, 3)),
    )
    return ReconstructionConfiguration(
        task="reconstruction",
        preprocessing=KSpaceSettings(folder="kspace", spacing=(4.5, 1.9, 1.9)),
        sampling=SamplingSettings(),
        network=NetworkSettings(stem=stem, width=12, depth=1, heads=2),
        cascades=CascadeSettings(count=2, channels=8, scales=2),
        training=TrainingSettings(
            crop=crop,
            batch_size=2,
            epochs=1,
            steps_per_epoch=20,
            validation_crops=4,
            learning_rate=5e-3,
            warmup_steps=2,
            loss="l1_ssim",
        ),
    )


def losses_on(batch: Batch, network: nn.Module, objective: Objective, rate: float, steps: int) -> list[float]:
    """The loss before each of some steps on one batch."""
    optimiser, losses = torch.optim.Adam(network.parameters(), rate), []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = objective.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses
