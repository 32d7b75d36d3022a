"""Parts of a training that ranks share."""

import os

import pytest
import torch
from prepared import plan

from kneeformer.config import DatasetSettings, TrainingSettings
from kneeformer.errors import KneeformerError
from kneeformer.plans import Plan
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.tasks.bone_completion.settings import (
    BoneConfiguration,
    BoneGridSettings,
    BoneLearningSettings,
)
from kneeformer.workflows.shared_training import loader_processes, refuse_ranks


@pytest.mark.parametrize(
    ("device", "cores", "ranks", "processes"),
    [
        ("cpu", 64, "1", 0),
        ("cuda", 64, "1", 8),
        ("cuda", 32, "8", 4),
        ("cuda", 4, "1", 4),
        ("cuda", 2, "4", 1),
    ],
)
def test_ranks_share_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, ranks: str, processes: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert loader_processes(torch.device(device)) == processes


def bones(**training: int) -> Plan:
    """A plan whose one configuration completes bones, in closed form where it has no epochs."""
    grid = BoneGridSettings(folder="bones", spacing=(4.0, 4.0, 4.0), grid=(32, 32, 32))
    settings = {"crop": grid.grid, "batch_size": 4, "steps_per_epoch": 1, "learning_rate": 1e-3, **training}
    configuration = BoneConfiguration(
        task="completion",
        preprocessing=grid,
        registration=RegistrationSettings(),
        prior=PriorSettings(kind="vae" if training["epochs"] else "pca", components=4),
        learning=BoneLearningSettings() if training["epochs"] else None,
        training=TrainingSettings.model_validate(settings),
    )
    dataset = DatasetSettings(
        name="Dataset002_Bone",
        labels={"background": 0, "tibia": 1},
        channel_names=("CT",),
        file_ending=".nrrd",
    )
    return Plan(plans_name="kfPlans", dataset=dataset, configurations={"3d_bones": configuration})


@pytest.mark.parametrize("epochs", [0, 5])
def test_completion_of_bones_is_refused_to_several_processes(epochs: int) -> None:
    refuse_ranks(bones(epochs=epochs), "3d_bones", 1)
    with pytest.raises(KneeformerError, match="3d_bones: can only be trained in one process; omit -num_gpus"):
        refuse_ranks(bones(epochs=epochs), "3d_bones", 2)


def test_a_process_has_a_crop_of_each_batch_at_least() -> None:
    refuse_ranks(plan(), "3d_vit", 8)
    with pytest.raises(KneeformerError, match=r"a batch of 8 .* 9 processes; .*training.batch_size=9"):
        refuse_ranks(plan(), "3d_vit", 9)
