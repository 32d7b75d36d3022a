"""Comparison of all bone completions of a dataset, on the same cases and hidden regions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.engine.loop import ProgressEvent
from kneeformer.errors import KneeformerError
from kneeformer.metrics.completion_comparison import Row, compare_configurations, markdown, to_csv
from kneeformer.metrics.summary import CaseScores
from kneeformer.paths import Folders
from kneeformer.plans import read_dataset_plan
from kneeformer.progress import Progress
from kneeformer.studies.kept_training import KeptTraining
from kneeformer.studies.validated_fold import ValidatedFold, refuse_other_masks
from kneeformer.studies.whole_bone_scores import score_whole_bones
from kneeformer.tasks.bone_completion.scores import score_fold
from kneeformer.tasks.bone_completion.settings import BoneConfiguration
from kneeformer.tasks.bone_completion.whole_bones import whole_bone_rows, whole_bone_table
from kneeformer.tasks.registry import registered
from kneeformer.workflows.request import Request
from kneeformer.workflows.splits import dataset_splits
from kneeformer.workflows.training_cases import split_of

BASELINES = ("3d_prototype", "3d_nearest", "3d_mirrored")  # what a prior is to be better than


@dataclass(frozen=True)
class Completions:
    """Configurations and folds to compare.

    Attributes:
        configurations: None takes all of the plan that complete bones.
        folds: None takes all that the dataset's splits have.
    """

    dataset: str
    configurations: tuple[str, ...] | None = None
    folds: tuple[int, ...] | None = None
    plans: str = "kfPlans"
    device: str | None = None


def compare_completions(
    folders: Folders, wanted: Completions, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> tuple[list[Row], Path]:
    """Train whatever is not trained yet, score every completion, and compare; table.csv and table.md.

    What is trained is taken as it is, and what is scored is only read. Beside hidden regions, whole bones are
    scored as the tibia paper reports them: whole_bones.csv and whole_bones.md.

    Returns:
        The table of hidden regions, and the folder: PLANS__completion_table in the dataset's results.

    Raises:
        KneeformerError: the plan has no configurations that complete bones, or not those; no such fold; a
            fold was validated on other cases or other regions than the others; files of it are missing.
    """
    home = folders.model(wanted.dataset, "completion_table", wanted.plans)
    require_writable(home)
    configurations, dataset = _completing(folders, wanted), Dataset.open(folders.raw / wanted.dataset)
    window = next(iter(configurations.values())).preprocessing.window_hu  # one scale for all
    trainings = {name: _trainings(folders, wanted, name) for name in configurations}
    splits = {t.request.fold: split_of(folders, t.request)["val"] for t in _all(trainings)}
    found: dict[KeptTraining, ValidatedFold] = {}
    for training in sorted(_all(trainings), key=lambda t: not t.validated):  # its faults cost no training
        if not training.validated:
            training.train(watch_training, watch)
        scores = score_fold(training.folder, dataset, window, watch)
        fold = ValidatedFold(training.folder, training.request, scores.hidden, scores.cases)
        refuse_other_masks(fold, splits[training.request.fold], found.values())
        found[training] = fold
    cases = {name: [case for run in runs for case in found[run].cases] for name, runs in trainings.items()}
    rows = compare_configurations(cases, BASELINES)
    write_text(home / "table.csv", to_csv(rows))
    write_text(home / "table.md", markdown(rows))
    alone = {n: runs for n, runs in trainings.items() if not configurations[n].needs_other_side}
    _compare_whole_bones(folders, wanted, configurations, alone, home, watch)
    return rows, home


def _compare_whole_bones(
    folders: Folders,
    wanted: Completions,
    configurations: dict[str, BoneConfiguration],
    trainings: dict[str, list[KeptTraining]],
    home: Path,
    watch: Progress,
) -> None:
    subject = Dataset.open(folders.raw / wanted.dataset).description.subject
    scores: dict[str, list[CaseScores]] = {}
    for name, runs in trainings.items():
        bones = folders.preprocessed / wanted.dataset / configurations[name].preprocessing.folder
        scores[name] = []
        for run in runs:
            subjects = {case: subject(case) for case in split_of(folders, run.request)["val"]}
            scores[name] += score_whole_bones(run.folder, bones, subjects, wanted.device, watch)
    rows = whole_bone_rows(scores)
    registrations = {name: c.previous_stage or "" for name, c in configurations.items()}
    write_text(home / "whole_bones.csv", to_csv(rows))
    write_text(home / "whole_bones.md", whole_bone_table(rows, registrations))


def _completing(folders: Folders, wanted: Completions) -> dict[str, BoneConfiguration]:
    """Those to compare, in the order of the plan or of the request."""
    plan = read_dataset_plan(folders, wanted.dataset, wanted.plans)
    there = {
        name: cast(BoneConfiguration, configuration)
        for name, configuration in plan.configurations.items()
        if configuration.requires_mask and registered(configuration.task).comparison is not None
    }
    if not there:
        raise KneeformerError(
            f"{wanted.plans} of {wanted.dataset} completes no bones: it has "
            f'{", ".join(plan.configurations)}; a dataset of completion has "task": "completion" in its '
            f"dataset.json when it is planned"
        )
    names = wanted.configurations or tuple(there)
    if others := [name for name in names if name not in there]:
        raise KneeformerError(
            f"no bones are completed by {', '.join(others)}, but by {', '.join(there)}; choose with -c"
        )
    return {name: there[name] for name in names}


def _trainings(folders: Folders, wanted: Completions, name: str) -> list[KeptTraining]:
    splits = dataset_splits(folders, wanted.dataset)
    folds = range(len(splits)) if wanted.folds is None else wanted.folds
    requests = [Request(wanted.dataset, name, fold, wanted.plans, device=wanted.device) for fold in folds]
    return [KeptTraining(folders, request) for request in requests]


def _all(trainings: dict[str, list[KeptTraining]]) -> list[KeptTraining]:
    return [training for runs in trainings.values() for training in runs]
