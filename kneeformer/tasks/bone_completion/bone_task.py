"""The base of bone completion and bone registration."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from kneeformer.config import Configuration
from kneeformer.engine.memory import training_state_gb
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.tasks.base import Task
from kneeformer.tasks.bone_completion.settings import BoneConfiguration
from kneeformer.tasks.bone_completion.tibia_paper import tibia_paper


class BoneTask(Task[BoneConfiguration]):
    """A task with single bones as cases, isolated by their labels and mirrored to one side."""

    needs_float64 = True
    stores_labels = False

    def needed_gb(self, network: nn.Module, configuration: BoneConfiguration, device: torch.device) -> float:
        return training_state_gb(network, _values(configuration))

    def published(
        self, proposed: Mapping[str, Configuration], fingerprint: Fingerprint, budget: Budget
    ) -> Mapping[str, Configuration]:
        """The paper's configurations of bones; the segmentation that finds them stays as it is."""
        bones = {name: c for name, c in proposed.items() if isinstance(c, BoneConfiguration)}
        others = {name: c for name, c in proposed.items() if name not in bones}
        return {**tibia_paper(bones, fingerprint, budget), **others}


def _values(configuration: BoneConfiguration) -> int:
    """Numbers held per batch: bones, their completions, and feature maps at half the resolution."""
    if not configuration.by_steps:
        return 0
    prior, locnet = configuration.prior, configuration.registration.locnet
    width = prior.code.width if prior is not None else locnet.width if locnet is not None else 0
    voxels = configuration.training.batch_size * math.prod(configuration.preprocessing.grid)
    return voxels * (6 + 12 * width // 8)
