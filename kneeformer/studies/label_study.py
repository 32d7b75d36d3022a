"""The label study: averaged weights, a teacher and pre-training, with few labels of the same subjects."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.engine.loop import ProgressEvent
from kneeformer.errors import KneeformerError
from kneeformer.paths import FINAL, Folders, fold_name
from kneeformer.plans import read_dataset_plan
from kneeformer.progress import Progress
from kneeformer.studies.existing_training import ExistingTraining, refuse_made_otherwise
from kneeformer.studies.label_arms import ALL_ARMS, Arm
from kneeformer.studies.label_details import pseudo_labels_csv, structures_csv
from kneeformer.studies.label_table import (
    Group,
    Row,
    Scores,
    compared,
    dice_of,
    draw,
    label_csv,
    label_markdown,
)
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.request import Request
from kneeformer.workflows.training_cases import split_of


@dataclass(frozen=True)
class LabelStudy:
    """Trainings to compare; None stands for the plan's value.

    Attributes:
        labels: numbers of labelled subjects; None is all of the fold. Other subjects lose their labels.
        arms: names in ALL_ARMS.
        seeds: each draws its own subjects, the same for all arms; smaller sets are part of larger ones.
        epochs: of each training with labels, for equal numbers of steps.
        minutes: of each training with labels, its pre-training included, for equal time.
        pretraining_epochs, pretraining_minutes: of the pre-training.
        pretrain_from: a second dataset whose images the pre-training learns from as well.
    """

    dataset: str
    configuration: str = "3d_vit"
    fold: int | str = 0
    plans: str = "kfPlans"
    labels: tuple[int | None, ...] = (5, 10, 20, None)
    arms: tuple[str, ...] = ("A", "B", "C")
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None
    minutes: float | None = None
    pretraining_epochs: int | None = None
    pretraining_minutes: float | None = None
    pretrain_from: str | None = None
    device: str | None = None

    @property
    def budget(self) -> str:
        """Name of the folder of trainings of this length."""
        lengths = {"epochs": self.epochs, "minutes": self.minutes}
        return "_".join(f"{n:g}_{unit}" for unit, n in lengths.items() if n is not None) or "planned"


@dataclass(frozen=True)
class Planned:
    """The trainings of a study.

    Attributes:
        before: pre-trainings, by their settings.
        trainings: one per seed, by labels and arm.
    """

    before: dict[tuple[str, ...], ExistingTraining]
    trainings: dict[Group, list[ExistingTraining]]


def run_label_study(
    folders: Folders, study: LabelStudy, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> tuple[list[Row], Path]:
    """Train what is not trained yet, and compare; write tables and curves.png.

    A stopped study is resumed.

    Returns:
        The rows of the table, and the folder label_study/BUDGET in the dataset's results.

    Raises:
        KneeformerError: the fold has too few subjects, pre-training takes all of the minutes, or existing
            trainings have other settings; all before any work.
    """
    home = folders.results / study.dataset / "label_study" / study.budget
    require_writable(home)
    study = replace(study, labels=_in_order(study.labels))
    wanted = Request(study.dataset, study.configuration, study.fold, study.plans, device=study.device)
    _refuse_labels(folders, wanted, study.labels)
    planned = planned_trainings(folders, home, study, wanted)
    refuse_made_otherwise([*planned.before.values(), *(t for r in planned.trainings.values() for t in r)])
    for before in planned.before.values():
        if not before.finished:
            before.train(watch_training, watch)
    tables = {
        key: [training.summary(watch_training, watch).table for training in runs]
        for key, runs in planned.trainings.items()
    }
    scores: Scores = {key: dice_of(found) for key, found in tables.items()}
    rows = list(compared(scores))
    write_text(home / "table.csv", label_csv(rows))
    write_text(home / "table.md", label_markdown(rows))
    write_text(home / "structures.csv", structures_csv(tables))
    plan = read_dataset_plan(folders, study.dataset, study.plans)
    prepared = plan.configuration(study.configuration).preprocessing.folder
    write_text(
        home / "pseudo_labels.csv",
        pseudo_labels_csv(
            {key: [t.folder for t in runs] for key, runs in planned.trainings.items()},
            folders.preprocessed / study.dataset / prepared,
            plan.dataset.scheme,
            Dataset.open(folders.raw / study.dataset).description.subject,
        ),
    )
    draw(scores, home / "curves.png")
    return rows, home


def planned_trainings(folders: Folders, home: Path, study: LabelStudy, wanted: Request) -> Planned:
    """The trainings of a study.

    Arms with a teacher are left out where there are no images without labels.
    """
    arms = {name: ALL_ARMS[name] for name in study.arms}
    unlabelled = bool(Dataset.open(folders.raw / study.dataset).unlabelled_cases())
    kinds = dict.fromkeys(arm.pretraining for arm in arms.values() if arm.pretraining is not None)
    before = {settings: _pretraining(folders, home, study, wanted, settings) for settings in kinds}
    trainings = {}
    for labels in study.labels:
        for name, arm in arms.items():
            if arm.teaches and labels is None and not unlabelled:
                continue
            results = home / f"labels_{labels or 'all'}" / name
            start = None if arm.pretraining is None else before[arm.pretraining]
            requests = [replace(wanted, seed=seed, subjects=labels) for seed in study.seeds]
            trainings[labels, name] = [_training(folders, results, study, arm, start, r) for r in requests]
    return Planned(before, trainings)


def _pretraining(
    folders: Folders, home: Path, study: LabelStudy, wanted: Request, settings: tuple[str, ...]
) -> ExistingTraining:
    stage = _pretraining_stage(folders, wanted)
    if stage is None:
        raise KneeformerError(
            f"{study.plans} has no configuration that learns without labels, such as 3d_mae; choose arms "
            f"without it: --arms A B C"
        )
    if study.minutes is not None and not (study.pretraining_minutes or study.minutes) < study.minutes:
        raise KneeformerError(
            f"pre-training counts in the {study.minutes:g} minutes: give it fewer, as --pretraining_minutes "
            f"{study.minutes / 2:g}"
        )
    request = replace(
        wanted,
        configuration=stage,
        epochs=study.pretraining_epochs,
        minutes=study.pretraining_minutes,
        pretrain_from=study.pretrain_from,
        settings=settings,
    )
    results = home / "pretraining" / ("_".join(settings) or "planned")
    return ExistingTraining(replace(folders, results=results), request)


def _training(
    folders: Folders,
    results: Path,
    study: LabelStudy,
    arm: Arm,
    start: ExistingTraining | None,
    request: Request,
) -> ExistingTraining:
    """One training of an arm; its pre-training counts in its minutes."""
    minutes = study.minutes
    if minutes is not None and start is not None:
        minutes -= study.pretraining_minutes or 0.0
    request = replace(
        request,
        epochs=study.epochs,
        minutes=minutes,
        settings=arm.settings,
        no_pretraining=start is None,
        pretrained_weights=None if start is None else start.folder / FINAL,
    )
    return ExistingTraining(replace(folders, results=results / f"seed_{request.seed}"), request, start)


def _pretraining_stage(folders: Folders, wanted: Request) -> str | None:
    """The previous stage of a configuration, else the first of its plan that needs no labels, or None."""
    plan = read_dataset_plan(folders, wanted.dataset, wanted.plans)
    return plan.configuration(wanted.configuration).previous_stage or next(
        (n for n, c in plan.configurations.items() if not task_named(c.task).needs_labels), None
    )


def _in_order(labels: Iterable[int | None]) -> tuple[int | None, ...]:
    """Sorted distinct numbers; None, which is all, comes last."""
    return tuple(sorted(set(labels), key=lambda n: (n is None, n)))


def _refuse_labels(folders: Folders, wanted: Request, labels: Sequence[int | None]) -> None:
    """Raises KneeformerError: the fold has no validation subjects, or too few training subjects."""
    if fold_name(wanted.fold) == "fold_all":
        raise KneeformerError(
            "the fold all trains on every case and leaves none to compare on; choose another with -f"
        )
    subject = Dataset.open(folders.raw / wanted.dataset).description.subject
    there = len({subject(name) for name in split_of(folders, wanted)["train"]})
    numbers = [n for n in labels if n is not None]
    if any(n > there for n in numbers):
        fewer = [n for n in numbers if n < there] or [n for n in [there // 2] if n]
        raise KneeformerError(
            f"{wanted.fold_name} has {there} labelled subjects, not "
            f"{' or '.join(str(n) for n in numbers if n > there)}; it has enough for --labels "
            f"{' '.join(map(str, [*fewer, 'all']))}"
        )
