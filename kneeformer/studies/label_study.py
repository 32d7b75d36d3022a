"""Study of few labels: averaged weights, copy-paste, teacher and pre-training on the same subjects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.engine.loop import ProgressEvent
from kneeformer.errors import KneeformerError
from kneeformer.metrics.bootstrap import Interval, seeds_and_subjects_interval
from kneeformer.paths import FINAL, Folders
from kneeformer.progress import Progress
from kneeformer.reporting.comparison_tables import interval_text, markdown
from kneeformer.reporting.plots import Curve, draw_label_curves
from kneeformer.reporting.score_tables import csv_text
from kneeformer.studies.existing_training import ExistingTraining, refuse_made_otherwise
from kneeformer.studies.few_labels import dice_by_subject, in_order, pretraining_stage, refuse_labels
from kneeformer.workflows.request import Request

_LABELS_ALONE = ("teacher=null", "augmentation.copy_paste=false")
_AVERAGED = "training.averaged_share=0.1"
_TEACHER = (_AVERAGED, "augmentation.copy_paste=false", "teacher={}")


@dataclass(frozen=True)
class Arm:
    """One way to train with few labels.

    Attributes:
        settings: as --set says them.
        teaches: whether it learns from images without labels.
        pretrained: whether it starts from pre-trained weights.
    """

    name: str
    settings: tuple[str, ...]
    teaches: bool = False
    pretrained: bool = False


ARMS = {
    "A": Arm("from scratch", ("training.averaged_share=0.0", *_LABELS_ALONE)),
    "B": Arm("averaged", (_AVERAGED, *_LABELS_ALONE)),
    "C": Arm("copy-paste", (_AVERAGED, "teacher=null", "augmentation.copy_paste=true")),
    "D": Arm("teacher", _TEACHER, teaches=True),
    "E": Arm("pre-trained", ("training.averaged_share=0.0", *_LABELS_ALONE), pretrained=True),
    "F": Arm("pre-trained, teacher", _TEACHER, teaches=True, pretrained=True),
}
_WITHOUT_IMAGES = "ABC"  # arms that never see an image without labels


@dataclass(frozen=True)
class LabelStudy:
    """Trainings to compare; None stands for the plan's value.

    Attributes:
        labels: numbers of labelled subjects; None is all of the fold. The others' images have no labels.
        arms: of ARMS.
        seeds: each draws its own subjects, the fewer among the more, the same for all arms.
        epochs: of every training with labels: equal numbers of steps.
        minutes: of every training with labels and the pre-training before it: equal time.
        pretraining_epochs, pretraining_minutes: of the previous stage.
    """

    dataset: str
    configuration: str = "3d_vit"
    fold: int | str = 0
    plans: str = "kfPlans"
    labels: tuple[int | None, ...] = (5, 10, 20, None)
    arms: tuple[str, ...] = ("A", "B", "C", "D")
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None
    minutes: float | None = None
    pretraining_epochs: int | None = None
    pretraining_minutes: float | None = None
    device: str | None = None

    @property
    def budget(self) -> str:
        """Name of the folder of trainings of this length."""
        lengths = {"epochs": self.epochs, "minutes": self.minutes}
        return "_".join(f"{n:g}_{unit}" for unit, n in lengths.items() if n is not None) or "planned"


@dataclass(frozen=True)
class Row:
    """One line of the table: mean Dice over seeds and subjects.

    Attributes:
        gain: in points, over the best arm that sees no image without labels; None for these.
    """

    labels: int | None
    arm: str
    seeds: int
    dice: Interval
    gain: Interval | None


Scores = dict[tuple[int | None, str], np.ndarray]  # (seeds, subjects) mean Dice over the structures


def run_label_study(
    folders: Folders, study: LabelStudy, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> tuple[list[Row], Path]:
    """Train whatever is not trained yet, and compare; table.csv, table.md and curves.png in the folder.

    A study that was stopped goes on where it was.

    Returns:
        The table, and the folder: label_study/BUDGET in the dataset's results.

    Raises:
        KneeformerError: the fold cannot be compared at these labels, pre-training takes all of the minutes,
            or trainings are there that were made otherwise than the study asks; all before all work.
    """
    home = folders.results / study.dataset / "label_study" / study.budget
    require_writable(home)
    study = replace(study, labels=in_order(study.labels))
    wanted = Request(study.dataset, study.configuration, study.fold, study.plans, device=study.device)
    refuse_labels(folders, wanted, study.labels)
    before, trainings = planned_trainings(folders, home, study, wanted)
    first = [] if before is None else [before]
    refuse_made_otherwise([*first, *(t for runs in trainings.values() for t in runs)])
    if before is not None and not before.finished:
        before.train(watch_training, watch)
    scores: Scores = {}
    for key, runs in trainings.items():
        scores[key] = np.stack([dice_by_subject(t.summary(watch_training, watch).table) for t in runs])
    rows = list(compared(scores))
    write_text(home / "table.csv", _csv(rows))
    write_text(home / "table.md", label_study_markdown(rows))
    _draw(scores, home / "curves.png")
    return rows, home


def planned_trainings(
    folders: Folders, home: Path, study: LabelStudy, wanted: Request
) -> tuple[ExistingTraining | None, dict[tuple[int | None, str], list[ExistingTraining]]]:
    """The pre-training, where an arm needs one; and the trainings by labels and arm, one a seed.

    A teacher is left out where every subject has labels and imagesUn holds none without.
    """
    arms = {name: ARMS[name] for name in study.arms}
    unlabelled = bool(Dataset.open(folders.raw / study.dataset).unlabelled_cases())
    pretrained = any(arm.pretrained for arm in arms.values())
    before = _pretraining(folders, home, study, wanted) if pretrained else None
    trainings = {}
    for labels in study.labels:
        for name, arm in arms.items():
            if arm.teaches and labels is None and not unlabelled:
                continue
            results = home / f"labels_{labels or 'all'}" / name
            requests = [replace(wanted, seed=seed, subjects=labels) for seed in study.seeds]
            trainings[labels, name] = [_training(folders, results, study, arm, before, r) for r in requests]
    return before, trainings


def _pretraining(folders: Folders, home: Path, study: LabelStudy, wanted: Request) -> ExistingTraining:
    stage = pretraining_stage(folders, wanted)
    if stage is None:
        raise KneeformerError(
            f"{study.plans} has no configuration that learns without labels, as 3d_mae does; choose arms "
            f"without it: --arms A B C D"
        )
    if study.minutes is not None and not (study.pretraining_minutes or study.minutes) < study.minutes:
        raise KneeformerError(
            f"pre-training counts in the {study.minutes:g} minutes: give it fewer, as --pretraining_minutes "
            f"{study.minutes / 2:g}"
        )
    request = replace(
        wanted, configuration=stage, epochs=study.pretraining_epochs, minutes=study.pretraining_minutes
    )
    return ExistingTraining(replace(folders, results=home / "pretraining"), request)


def _training(
    folders: Folders,
    results: Path,
    study: LabelStudy,
    arm: Arm,
    before: ExistingTraining | None,
    request: Request,
) -> ExistingTraining:
    """One training of an arm; what came before it is charged to its minutes."""
    minutes, start = study.minutes, before if arm.pretrained else None
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


def compared(scores: Scores) -> Iterator[Row]:
    """The rows, each arm that sees images without labels beside the best of the others at its labels."""
    for (labels, name), values in scores.items():
        others = [s for (n, other), s in scores.items() if n == labels and other in _WITHOUT_IMAGES]
        gain = None
        if name not in _WITHOUT_IMAGES and others:
            best = max(others, key=lambda s: float(np.nanmean(s)))
            gain = seeds_and_subjects_interval(100 * (values - best))
        yield Row(labels, name, len(values), seeds_and_subjects_interval(values), gain)


def _csv(rows: list[Row]) -> str:
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    titles = ["labels", "arm", "name", "seeds", "dice", "low", "high", "gain", "gain_low", "gain_high"]
    return csv_text(
        titles,
        (
            [
                str(row.labels or "all"),
                row.arm,
                ARMS[row.arm].name,
                row.seeds,
                *row.dice,
                *(row.gain or nothing),
            ]
            for row in rows
        ),
    )


def label_study_markdown(rows: list[Row]) -> str:
    """The table as people read it."""
    titles = ["labelled subjects", "arm", "seeds", "mean Dice (95 % CI)"]
    cells = (
        [
            *(str(row.labels or "all"), f"{row.arm} {ARMS[row.arm].name}", str(row.seeds)),
            interval_text(row.dice, ".4f"),
            "" if row.gain is None else interval_text(row.gain, "+.2f"),
        ]
        for row in rows
    )
    return markdown([*titles, "gain over the best of A to C in points (95 % CI)"], cells) + "\n"


def _draw(scores: Scores, picture: Path) -> None:
    points: dict[str, list[tuple[str, tuple[float, float, float]]]] = {}
    for (labels, name), values in scores.items():
        points.setdefault(name, []).append((str(labels or "all"), seeds_and_subjects_interval(values)))
    draw_label_curves([Curve(f"{n} {ARMS[n].name}", tuple(p)) for n, p in points.items()], picture)
