"""Plan a dataset for a machine, by its fingerprint and one measured training step."""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import torch

from kneeformer.config import Configuration, Cost, DatasetSettings
from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_bytes, write_text
from kneeformer.data.images import output_ending
from kneeformer.data.splits import load_or_make_splits
from kneeformer.errors import KneeformerError, is_memory_short
from kneeformer.networks.compute import choose_device, half_precision_helps
from kneeformer.paths import PLANS, Folders
from kneeformer.planning.budget import Budget, Limits, machine_memory_gb
from kneeformer.planning.coverage import uncovered
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.plans import Plan, read_plan
from kneeformer.progress import Progress
from kneeformer.tasks.registry import predictive, task_named, tasks_for
from kneeformer.workflows.fingerprint import FINGERPRINT, take_fingerprint
from kneeformer.workflows.folder_lock import one_at_a_time
from kneeformer.workflows.outputs import shared_outputs

_log = logging.getLogger(__name__)

NO_LIMITS = Limits()
_NOTHING_FITS_GB = 0.2  # less than the program itself takes


def plan_dataset(
    folders: Folders,
    name: str,
    processes: int,
    watch: Progress,
    plans: str = "kfPlans",
    planner: str = "default",
    limits: Limits = NO_LIMITS,
) -> Plan:
    """Check, fingerprint, split and plan a dataset; writes its folder in kf_preprocessed.

    Args:
        name: full dataset name.
        planner: "default", or "paper" for the published recipe.

    Raises:
        KneeformerError: the dataset has problems, there is no such device or planner, or hours are given to a
            task that is not planned by them.
    """
    if planner not in PLANS:
        raise KneeformerError(f"planner {planner!r} is not one of {', '.join(PLANS)}")
    dataset = Dataset.open(folders.raw / name)
    _refuse_shared_outputs(dataset)
    _require_structures(dataset)
    _refuse_hours(dataset.description.task, limits)
    chosen = choose_device(limits.device, task_named(dataset.description.task).needs_float64)
    folder = folders.preprocessed / name
    require_writable(folder)
    fingerprint = take_fingerprint(dataset, folder, processes, watch)
    with one_at_a_time(folder, "kf_plan"):
        write_text(folder / FINGERPRINT, fingerprint.model_dump_json(indent=1) + "\n")
        split_cases(dataset, fingerprint, folder / "splits_final.json")
        budget = Budget(
            chosen.type,
            limits.memory_gb or _device_memory_gb(chosen),
            hours_given=limits.hours,
            bfloat16=half_precision_helps(chosen),
        )
        settings = DatasetSettings(
            name=name,
            channel_names=dataset.description.channels,
            labels=dataset.description.labels,
            regions_class_order=dataset.description.regions_class_order,
            file_ending=dataset.description.file_ending,
        )
        watch("Measuring a training step", 0, 1)
        configurations = _measured(fingerprint, dataset.description.task, settings, budget, chosen, planner)
        watch("Measuring a training step", 1, 1)
        plan = Plan(plans_name=plans, dataset=settings, configurations=configurations)
        replace_plan(folders.plan_file(name, plans), plan)
    return plan


def split_cases(dataset: Dataset, fingerprint: Fingerprint, file: Path) -> None:
    """Make the splits or check existing ones; warn of structures that they cannot train or validate."""
    subjects = {case.name: dataset.description.subject(case.name) for case in dataset.training_cases()}
    if subjects:
        splits = load_or_make_splits(file, subjects)
        volumes = {name: case.volumes_mm3 for name, case in fingerprint.cases.items()}
        if lines := uncovered(splits, volumes, fingerprint.structures):
            _log.warning("%s:\n%s", file, "\n".join(f"  {line}" for line in lines))


def _refuse_shared_outputs(dataset: Dataset) -> None:
    """Raises KneeformerError: two cases would share a file in a validation, or there is no such task."""
    try:
        outputs = predictive(dataset.description.task).outputs
        ending = output_ending(dataset.description.file_ending)
    except KneeformerError as fault:
        raise KneeformerError(f"{dataset.folder / 'dataset.json'}: {fault}") from fault
    if shared := shared_outputs((c.name for c in dataset.training_cases()), outputs, ending):
        lines = "".join(f"\n  {line}" for line in shared)
        raise KneeformerError(f"{dataset.folder}: predictions of two cases would be one file:{lines}")


def _require_structures(dataset: Dataset) -> None:
    """Raises KneeformerError: the task learns from label maps, and dataset.json names no structure."""
    task = dataset.description.task
    if task_named(task).needs_labels and not dataset.description.labels:
        raise KneeformerError(
            f"{dataset.folder / 'dataset.json'}: labels is empty, and {task} learns from label maps; name "
            f'the structures, as in {{"background": 0, "femur": 1}}'
        )


def _refuse_hours(task: str, limits: Limits) -> None:
    """Raises KneeformerError: hours are given, and the trainings of the task do not depend on them."""
    if limits.hours is not None and not task_named(task).planned_by_hours:
        raise KneeformerError(f"--hours: lengths of trainings for {task} do not depend on it; omit it")


def replace_plan(file: Path, plan: Plan) -> None:
    """Write a plan; copy an existing one that differs, edited or made of other data, beside it first.

    At any moment there is a whole plan.
    """
    if file.is_file() and _decisions(file) != plan.without_evidence().to_text():
        kept = file.with_suffix(f".{datetime.now():%Y%m%d-%H%M%S-%f}.json")
        write_bytes(kept, file.read_bytes())
        _log.warning("%s differed from the new plan; it is kept as %s", file, kept.name)
    write_text(file, plan.to_text())


def _decisions(file: Path) -> str | None:
    try:
        return read_plan(file).without_evidence().to_text()
    except KneeformerError:
        return None


def _measured(
    fingerprint: Fingerprint,
    task_name: str,
    dataset: DatasetSettings,
    budget: Budget,
    device: torch.device,
    planner: str,
) -> dict[str, Configuration]:
    """The tasks' configurations with their costs, planned again until they fit the machine.

    If a step of the first one can be measured, its speed and memory correct the assumed ones.
    """
    given = budget.memory_gb
    while True:
        costed = propose(fingerprint, task_name, dataset, budget, planner)
        name, first = next(iter(costed.items()))
        task = task_named(first.task)
        try:
            measured = task.measure_step(task.network(dataset, first), dataset, first, device)
        except (MemoryError, RuntimeError) as fault:
            if not is_memory_short(fault):
                raise
            taken, found = "more than there is", replace(budget, memory_gb=budget.memory_gb / 2)
        else:
            if measured is None:
                return costed
            taken, found = f"{measured.memory_mb:.0f} MB", corrected(budget, first, measured, given)
            if measured.memory_mb <= given * 1024 and found.speed == budget.speed:
                return {**costed, name: _with_evidence(first, {"measured": measured})}
        if found.memory_gb < _NOTHING_FITS_GB:
            raise nothing_fits(taken, str(device), given)
        budget = found


def nothing_fits(taken: str, device: str, given_gb: float) -> KneeformerError:
    """The error for a machine that is too small for any plan."""
    return KneeformerError(
        f"a training step of the smallest crop takes {taken} on {device}, of {given_gb:g} GB given; "
        f"give more memory or choose another device"
    )


def propose(
    fingerprint: Fingerprint,
    task_name: str,
    dataset: DatasetSettings,
    budget: Budget,
    planner: str = "default",
) -> dict[str, Configuration]:
    """The configurations of a dataset's task and of those that prepare for it, with estimated costs."""
    tasks = tasks_for(task_name, labelled=fingerprint.labelled > 0)
    each = [task.configurations(fingerprint, dataset, budget) for task in tasks]
    proposed = {name: c for configurations in each for name, c in configurations.items()}
    planned = proposed if planner == "default" else tasks[0].published(proposed, fingerprint, budget)
    return {name: _with_estimate(c, dataset, budget) for name, c in planned.items()}


def corrected(budget: Budget, configuration: Configuration, measured: Cost, given_gb: float) -> Budget:
    """The budget, corrected by a measured step.

    The speed is corrected once, if it is more than twice or less than half the typical one, and by a power of
    two: a plan must not depend on what else a machine is doing. The memory is lowered where a step took more
    than is given.
    """
    speed, memory = budget.measured_speed, budget.memory_gb
    estimate = None if configuration.evidence is None else configuration.evidence.estimate
    if speed is None and estimate is not None:
        times = max(estimate.seconds_per_step, 1e-3) / max(measured.seconds_per_step, 1e-3)
        speed = budget.speed if 0.5 <= times <= 2 else budget.speed * 2.0 ** round(math.log2(times))
    if measured.memory_mb > given_gb * 1024:
        memory *= 0.9 * given_gb * 1024 / measured.memory_mb
    return replace(budget, measured_speed=speed, memory_gb=memory)


def _with_estimate(configuration: Configuration, dataset: DatasetSettings, budget: Budget) -> Configuration:
    task = task_named(configuration.task)
    with torch.device("meta"):
        network = task.network(dataset, configuration)
    parameters = sum(p.numel() for p in network.parameters())
    estimate = task.estimate_step(network, dataset, configuration, budget)
    update = {"parameters": parameters, "estimate": estimate}
    return _with_evidence(configuration, update)


def _with_evidence(configuration: Configuration, update: Mapping[str, object]) -> Configuration:
    if configuration.evidence is None:
        return configuration
    return configuration.model_copy(update={"evidence": configuration.evidence.model_copy(update=update)})


def _device_memory_gb(device: torch.device) -> float:
    """GB that a step may take: nine tenths of a GPU's memory; on a CPU half of the machine's."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) * 0.9 / 2**30
    return machine_memory_gb() / 2
