"""A plan for a larger machine is refused by its sizes, before any memory is taken."""

import time
from typing import Any

import pytest
import torch

from kneeformer.errors import KneeformerError
from kneeformer.planning.budget import machine_memory_gb
from kneeformer.plans import Plan, parse_plan
from kneeformer.tasks.registry import task_named

CPU = torch.device("cpu")
TRAINING = {"crop": [16, 64, 64], "batch_size": 2, "epochs": 1, "steps_per_epoch": 1, "learning_rate": 0.1}


def planned(task: str, **changes: Any) -> Plan:
    """A small plan with changes, whose one configuration is called "c"."""
    configuration: dict[str, Any] = {
        "task": task,
        "preprocessing": {
            "folder": "f",
            "spacing": [1, 1, 1],
            "orientations": ["SPL"],
            "median_shape": [16, 64, 64],
            "normalisation": [{"kind": "zscore"}],
        },
        "network": {
            "stem": [{"channels": 12, "stride": [4, 4, 4], "kernel": [3, 3, 3]}],
            "width": 12,
            "depth": 1,
            "heads": 1,
        },
        "augmentation": {},
        "inference": {"whole_volume_tokens": 100},
        "training": TRAINING,
    }
    if task == "completion":
        configuration = {
            "task": task,
            "preprocessing": {"folder": "f", "spacing": [1, 1, 1], "grid": [16, 16, 16]},
            "registration": {},
            "prior": {"kind": "pca"},
            "training": TRAINING,
        }
    for key, value in changes.items():
        configuration[key] = configuration.get(key, {}) | value
    labels = {"background": 0, "femur": 1}
    dataset = {"name": "D", "channel_names": ["CT"], "labels": labels, "file_ending": ".nrrd"}
    return parse_plan({"dataset": dataset, "configurations": {"c": configuration}}, "test")


def refuse(plan: Plan) -> None:
    configuration = plan.configuration("c")
    task_named(configuration.task).refuse_too_large(plan.dataset, configuration, CPU)


def needed_gb(plan: Plan) -> float:
    configuration = plan.configuration("c")
    task = task_named(configuration.task)
    return task.needed_gb(task.network(plan.dataset, configuration), configuration, CPU)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("segmentation", {"training": {"batch_size": 60_000, "crop": [64, 512, 512]}}),
        ("segmentation", {"training": {"crop": [16_384, 16_384, 16_384]}}),
        (
            "segmentation",
            {
                "network": {
                    "stem": [{"channels": 65_520, "stride": [4, 4, 4], "kernel": [3, 3, 3]}],
                    "width": 65_520,
                    "depth": 256,
                    "heads": 1,
                }
            },
        ),
        ("completion", {"preprocessing": {"grid": [4000, 4000, 4000]}}),
        ("completion", {"prior": {"components": 65_000}, "preprocessing": {"grid": [500, 500, 500]}}),
        ("completion", {"prior": {"kind": "vae", "code": {"width": 60_000}}, "learning": {}}),
        (
            "completion",
            {
                "prior": {"kind": "vit"},
                "learning": {},
                "training": {"batch_size": 65_000},
                "preprocessing": {"grid": [64] * 3},
            },
        ),
    ],
)
def test_what_is_far_too_large_is_refused_in_a_second(task: str, changes: dict[str, Any]) -> None:
    plan = planned(task, **changes)
    started = time.monotonic()
    with pytest.raises(
        KneeformerError, match=r"GB, and cpu has .* GB: the network has .* million parameters"
    ):
        refuse(plan)
    assert time.monotonic() - started < 5  # on a machine that is busy


@pytest.mark.parametrize(
    ("task", "changes"),
    [("segmentation", {}), ("pretraining", {"masking": {}}), ("completion", {})],
)
def test_what_fits_is_not_refused(task: str, changes: dict[str, Any]) -> None:
    plan = planned(task, **changes)
    refuse(plan)
    assert 0 < needed_gb(plan) < machine_memory_gb()


def test_a_prior_of_many_modes_counts_them() -> None:
    """128 modes of 2 x 64^3 float32 are 256 MiB."""
    few, many = (
        planned("completion", prior={"components": n}, preprocessing={"grid": [64, 64, 64]}) for n in (1, 129)
    )
    assert needed_gb(many) - needed_gb(few) == pytest.approx(0.25)


def test_a_batch_twice_as_large_takes_nearly_twice_as_much() -> None:
    base, larger = (planned("segmentation", training={"batch_size": n}) for n in (200, 400))
    assert 1.2 < needed_gb(larger) / needed_gb(base) < 2
