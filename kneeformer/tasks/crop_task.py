"""The base of tasks whose networks learn from crops of images."""

from collections.abc import Mapping

import torch
from torch import nn

from kneeformer.config import Configuration, Cost, CropConfiguration, DatasetSettings
from kneeformer.engine.step_cost import estimate_step, measure_step
from kneeformer.networks.compute import half_precision_helps
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.knee_paper import knee_paper
from kneeformer.tasks.base import Task


class CropTask(Task[CropConfiguration]):
    """A task with whole images of one spacing as cases; steps are measured on crops of random voxels."""

    shares_batches = True

    def published(
        self, proposed: Mapping[str, Configuration], fingerprint: Fingerprint, budget: Budget
    ) -> Mapping[str, Configuration]:
        crops = {name: c for name, c in proposed.items() if isinstance(c, CropConfiguration)}
        return {name: knee_paper(crop, fingerprint, budget) for name, crop in crops.items()}

    def needed_gb(self, network: nn.Module, configuration: CropConfiguration, device: torch.device) -> float:
        here = Budget(device.type, 0, bfloat16=half_precision_helps(device))
        return estimate_step(network, configuration, here).memory_mb / 1024

    def estimate_step(
        self,
        network: nn.Module,
        dataset: DatasetSettings,
        configuration: CropConfiguration,
        budget: Budget,
    ) -> Cost:
        return estimate_step(network, configuration, budget, dataset.scheme.outputs)

    def measure_step(
        self,
        network: nn.Module,
        dataset: DatasetSettings,
        configuration: CropConfiguration,
        device: torch.device,
    ) -> Cost:
        objective = self.objective(dataset, configuration)
        return measure_step(network, objective, len(dataset.channel_names), configuration, device)
