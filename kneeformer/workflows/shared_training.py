"""The parts of a training that all ranks share: its steps, and the prediction of validation cases."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from kneeformer.config import Configuration
from kneeformer.data.dataset import Case
from kneeformer.data.processes import default_processes
from kneeformer.engine.learner import follow
from kneeformer.engine.training_run import TrainingRun
from kneeformer.errors import KneeformerError
from kneeformer.networks import ranks
from kneeformer.networks.compute import choose_device, to_device
from kneeformer.plans import Plan
from kneeformer.progress import Progress
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.request import Request
from kneeformer.workflows.warning_log import keeping_warnings


def refuse_ranks(plan: Plan, name: str, count: int) -> None:
    """Raises KneeformerError: a configuration cannot be trained by this number of ranks."""
    configuration = plan.configuration(name)
    if count == 1:
        return
    if not (configuration.by_steps and task_named(configuration.task).shares_batches):
        raise KneeformerError(f"{name}: can only be trained in one process; omit -num_gpus or torchrun")
    if (batch_size := configuration.training.batch_size) < count:
        raise KneeformerError(
            f"{name}: a batch of {batch_size} is not enough for {count} processes; give them "
            f"--set training.batch_size={count} or more"
        )


def of_one_rank(configuration: Configuration) -> Configuration:
    """The configuration with the batch of one rank: the largest share of any."""
    training = configuration.training
    share = -(-training.batch_size // ranks.size())
    return configuration.model_copy(update={"training": training.model_copy(update={"batch_size": share})})


def shared_run(
    network: nn.Module,
    plan: Plan,
    request: Request,
    folder: Path,
    training: StoredCases,
    validation: StoredCases,
    fine_tuned: frozenset[str],
) -> TrainingRun:
    """A training as one rank runs it, on its share of each batch.

    Args:
        network: on its device.
        fine_tuned: names of pre-trained parameters.
    """
    configuration, seed = plan.configuration(request.configuration), request.seed or 0
    task = task_named(configuration.task)
    device = choose_device(request.device, task.needs_float64)
    return TrainingRun(
        network=network,
        objective=task.objective(plan.dataset, configuration),
        training=task.batches(network, training, plan.dataset, configuration, seed, training=True),
        validation=task.batches(network, validation, plan.dataset, configuration, seed + 1, training=False),
        settings=configuration.training,
        folder=folder,
        device=device,
        seed=seed,
        minutes=request.minutes,
        ends_by_epochs=request.ends_by_epochs,
        workers=loader_processes(device),
        pretrained=fine_tuned,
        teacher=task.teacher(training, plan.dataset, configuration, seed + 2),
    )


def loader_processes(device: torch.device) -> int:
    """Number of processes that prepare batches for this rank: up to 8 for a GPU, one per core.

    On a CPU there are none, since the network needs its cores.
    """
    if device.type == "cpu":
        return 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # ranks of this machine, by torchrun
    return max(1, min(8, default_processes() // here))


def join_training(
    plan: Plan,
    request: Request,
    folder: Path,
    training: StoredCases,
    validation: StoredCases,
    fine_tuned: frozenset[str],
) -> None:
    """Follow the leader through a training, from its first checkpoint on; arguments as `shared_run`."""
    configuration = plan.configuration(request.configuration)
    task = task_named(configuration.task)
    device = choose_device(request.device, task.needs_float64)
    network = to_device(task.network(plan.dataset, configuration), device)
    follow(shared_run(network, plan, request, folder, training, validation, fine_tuned))


def predict_share(
    folder: Path, cases: Sequence[Case], device: str | None, watch: Progress = lambda *_: None
) -> None:
    """Predict this rank's share of a fold's validation cases into its folder; wait for the other ranks."""
    predictor = Predictor.from_model_folder(folder.parent, (folder.name,), device=device)
    predictor = predictor.undersampling_as_planned()
    for number, case in enumerate(cases[ranks.rank() :: ranks.size()], 1):
        predictor.predict_case(case, folder / "validation")
        watch("Validating on whole cases", min(number * ranks.size(), len(cases)), len(cases))
    ranks.meet()


def join_prediction(folder: Path, cases: Sequence[Case], device: str | None) -> None:
    """As `predict_share`, on a rank that follows; warnings are kept with those of the leader."""
    with keeping_warnings(folder):
        predict_share(folder, cases, device)
