"""The outcome of a training: the task's review of the network, and its validation on whole cases."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kneeformer.data.dataset import Dataset, with_other_sides
from kneeformer.data.processes import default_processes
from kneeformer.engine.checkpoint import load_network
from kneeformer.engine.log import note
from kneeformer.metrics.summary import Summary
from kneeformer.networks import ranks
from kneeformer.networks.compute import choose_device, to_device
from kneeformer.paths import FINAL, Folders
from kneeformer.plans import Plan, read_fold_plan
from kneeformer.progress import Progress
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.evaluate import evaluate_cases
from kneeformer.workflows.fold_folder import read_run
from kneeformer.workflows.inputs import with_validation_mask
from kneeformer.workflows.raw_data import raw_dataset, refuse_another_description
from kneeformer.workflows.request import Request
from kneeformer.workflows.shared_training import join_prediction, predict_share
from kneeformer.workflows.training_cases import learning_cases


@dataclass(frozen=True)
class Outcome:
    """Result of a training.

    Attributes:
        summary: scores of the validation on whole cases; None where there was none.
        review: text of the task about its network; "" without one.
    """

    folder: Path
    summary: Summary | None = None
    review: str = ""


def fold_outcome(
    folders: Folders, folder: Path, planned: Plan, request: Request, held_out: list[str], watch: Progress
) -> Outcome:
    """Review the trained network, and validate it on whole cases where there are references and files.

    Args:
        held_out: the cases to validate on.
    """
    configuration = planned.configuration(request.configuration)
    scored = task_named(configuration.task).predicts and configuration.has_references
    reviewed = not (scored and request.validate_only)
    review = _review(folders, folder, request, watch) if reviewed else ""
    if not scored or request.fold_name == "fold_all":
        return Outcome(folder, review=review)
    if raw_dataset(folders, request.dataset) is None:
        raw = folders.raw / request.dataset
        missing = f"{raw}: not there, so no whole case is validated; restore it and type"
        return Outcome(folder, review="\n".join([review, missing, f"    {request.command('--val')}"]).strip())
    return Outcome(folder, _validate(folders, folder, held_out, request, watch), review)


def _validate(folders: Folders, folder: Path, cases: list[str], request: Request, watch: Progress) -> Summary:
    dataset = Dataset.open(folders.raw / request.dataset)
    there = dataset.training_cases()
    names = set(cases)
    wanted = [c for c in there if c.name in names]
    plan = read_fold_plan(folder)
    refuse_another_description(plan, dataset)
    configuration = plan.configuration(request.configuration)
    description = dataset.description.predicted_as(plan.dataset.file_ending)
    task, output = configuration.task, folder / "validation"
    if configuration.needs_other_side:
        wanted = with_other_sides(wanted, there, description)
    masked = [
        with_validation_mask(case, task, description, output / "masks", number)
        for number, case in enumerate(wanted, 1)
    ]
    ranks.call(join_prediction, folder, masked, request.device)
    predict_share(folder, masked, request.device, watch)
    summary = evaluate_cases(masked, task, output, description, default_processes(), watch)
    note(folder, f"validated on whole cases ({len(masked)}); scores are in {output / 'summary.json'}")
    return summary


def _review(folders: Folders, folder: Path, request: Request, watch: Progress) -> str:
    plan = read_fold_plan(folder)
    configuration = plan.configuration(request.configuration)
    task = task_named(configuration.task)
    network = load_network(partial(task.network, plan.dataset, configuration), folder / FINAL)
    to_device(network, choose_device(request.device, task.needs_float64)).eval()
    request = replace(request, pretrain_from=read_run(folder).pretrain_from)
    training, validation = learning_cases(folders, request, plan, watch)
    return task.review(network, training, validation, configuration, folder / "validation")
