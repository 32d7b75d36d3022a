"""Prepare the cases of a dataset for a plan's configurations: parallel, resumable, whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.config import Configuration
from kneeformer.data.check import check_case
from kneeformer.data.cluster import require_shared
from kneeformer.data.dataset import Case, Dataset
from kneeformer.data.description import DatasetDescription
from kneeformer.data.disk import require_writable
from kneeformer.data.processes import run_each
from kneeformer.data.storage import CaseRecord, Origin, save_case, structure_points
from kneeformer.errors import KneeformerError, named
from kneeformer.geometry.aliases import Size
from kneeformer.labels import LabelScheme
from kneeformer.paths import Folders
from kneeformer.plans import Plan
from kneeformer.progress import Progress
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.preparation import Preparation
from kneeformer.tasks.registry import registered, task_named
from kneeformer.workflows.fingerprint import log_warnings
from kneeformer.workflows.folder_lock import one_at_a_time
from kneeformer.workflows.prepared import (
    Wanted,
    files_digest,
    settings_digest,
    stale_cases,
)
from kneeformer.workflows.raw_data import refuse_another_description, refuse_duplicates


@dataclass(frozen=True)
class Job:
    """One case to prepare, as it travels to a child process."""

    case: Case
    description: DatasetDescription
    prepare: Preparation
    configuration: Configuration
    folder: Path
    origin: Origin


def preprocess_dataset(
    folders: Folders, plan: Plan, configurations: list[str], processes: int, watch: Progress
) -> dict[str, int]:
    """Prepare every labelled case for each configuration, and unlabelled ones where the plan uses them.

    A case whose raw files and settings are unchanged, and whose prepared files are whole, is skipped.
    Configurations with the same folder share its cases.

    Returns:
        The number of cases that were made in each folder (0: all were there).

    Raises:
        KneeformerError: the plan is of another dataset.json, or wants two kinds of cases in one folder; one
            image or label has two files; or cases failed or their process died: each is named, and the others
            are done.
        DiskError: the disk is full or fails; finished cases are kept.
    """
    dataset = Dataset.open(folders.raw / plan.dataset.name)
    refuse_another_description(plan, dataset)
    refuse_duplicates(dataset)
    _refuse_two_settings_of_one_folder(plan)
    by_folder: dict[str, Configuration] = {
        plan.configuration(n).preprocessing.folder: plan.configuration(n) for n in configurations[::-1]
    }
    home, labelled = folders.preprocessed / plan.dataset.name, dataset.training_cases()
    by_images = {
        c.preprocessing.folder
        for c in plan.configurations.values()
        if c.learns_without_labels or not task_named(c.task).needs_labels
    }
    require_writable(home, *(home / name for name in by_folder))
    made = {}
    for name, configuration in by_folder.items():
        cases = [*labelled, *dataset.unlabelled_cases()] if name in by_images else labelled
        made[name] = preprocess_cases(
            cases, dataset, configuration, home / name, processes, watch, verify=True
        )
    return made


def preprocess_cases(
    cases: list[Case],
    dataset: Dataset,
    configuration: Configuration,
    folder: Path,
    processes: int,
    watch: Progress,
    verify: bool,
) -> int:
    """Prepare cases of a dataset in a folder, and return how many were made. Raises as `preprocess_dataset`.

    It waits for another process that prepares cases in the folder.

    Args:
        verify: as in `stale_cases`.
    """
    general = dataset.description.without_cases()
    jobs = _stale([_job(case, general, configuration, folder) for case in cases], verify)
    if jobs:
        with one_at_a_time(folder, "kf_preprocess", ("labels",)):
            jobs = _stale(jobs, verify)
            require_shared(dataset.folder, output=folder)
            _run(jobs, folder.name, processes, watch)
    return len(jobs)


def _stale(jobs: list[Job], verify: bool) -> list[Job]:
    if not jobs:
        return []
    stale = stale_cases(jobs[0].folder, [Wanted(job.case.name, job.origin) for job in jobs], verify)
    return [job for job in jobs if job.case.name in stale]


def _refuse_two_settings_of_one_folder(plan: Plan) -> None:
    first: dict[str, tuple[str, Configuration]] = {}
    for name, configuration in plan.configurations.items():
        folder = configuration.preprocessing.folder
        other, there = first.setdefault(folder, (name, configuration))
        if there.preprocessing != configuration.preprocessing:
            raise KneeformerError(
                f"{plan.plans_name}: {other} and {name} keep their cases in one folder, {folder}, and "
                f"prepare them differently; give preprocessing.folder of one of them another name"
            )


def _run(jobs: list[Job], name: str, processes: int, watch: Progress) -> None:
    outcomes = run_each(
        _prepare,
        jobs,
        [job.case.name for job in jobs],
        processes,
        lambda done: watch(f"Preprocessing {name}", done, len(jobs)),
    )
    log_warnings([line for lines in outcomes if not isinstance(lines, Exception) for line in lines])
    done = {job.case.name: outcome for job, outcome in zip(jobs, outcomes, strict=True)}
    failed = [f"  {named(case, o)}" for case, o in done.items() if isinstance(o, Exception)]
    if failed:
        raise KneeformerError(
            f"{len(failed)} of {len(jobs)} cases could not be preprocessed; fix them and run the command "
            f"again, finished cases are kept:\n" + "\n".join(failed)
        )


def _job(case: Case, description: DatasetDescription, configuration: Configuration, folder: Path) -> Job:
    settings = configuration.preprocessing
    origin = Origin(
        settings=settings_digest(settings, description.labels),
        files=files_digest(case),
    )
    return Job(case, description, registered(configuration.task).prepare, configuration, folder, origin)


def _prepare(job: Job) -> list[str]:
    """Prepare a case; return warnings, each beginning with its file."""
    description, configuration = job.description, job.configuration
    checked = check_case(job.case, description)
    if checked.problems or checked.images is None or checked.grid is None:
        raise KneeformerError("; ".join(checked.problems))
    file = job.case.label or job.case.images[0]
    try:
        scan = Scan(checked.images, checked.grid, side=job.case.side)
        prepared = job.prepare(scan, checked.label, configuration, description.scheme)
    except KneeformerError as fault:
        raise KneeformerError(f"{file}: {fault}") from fault
    points = {} if prepared.labels is None else _points(prepared.labels, description.scheme)
    z, y, x = prepared.image.shape[1:]
    record = CaseRecord(
        origin=job.origin,
        shape=(z, y, x),
        spacing=prepared.spacing,
        orientation=prepared.orientation,
        points=points,
    )
    crop = configuration.training.crop
    save_case(job.folder, job.case.name, prepared.image, prepared.labels, record, crop)
    warnings = [*prepared.warnings, *_lost(points, checked.label, description.scheme)]
    return [f"{file}: {warning}" for warning in warnings]


def _lost(points: dict[str, list[Size]], label: np.ndarray | None, scheme: LabelScheme) -> list[str]:
    """A warning about the structures of a label map that are not in the prepared one, where they are."""
    gone = [name for name, found in points.items() if not found]
    lost = [] if label is None else [name for name in gone if scheme.structure(label, name).any()]
    return [f"too thin for the spacing of the plan, and background there: {', '.join(lost)}"] if lost else []


def _points(labels: np.ndarray, scheme: LabelScheme) -> dict[str, list[Size]]:
    masks = {name: scheme.structure(labels, name) for name in scheme.names}
    return structure_points(labels, masks, seed=0)
