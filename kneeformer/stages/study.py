"""What pre-training buys: trainings with few labels, from pre-trained weights and from chance."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError
from kneeformer.evaluation.resampling import seeds_and_subjects_interval
from kneeformer.evaluation.summary import Summary, read_summary
from kneeformer.export.plots import Curve, draw_label_curves
from kneeformer.paths import Folders
from kneeformer.plan import read_plan
from kneeformer.stages.cases import refuse_more_subjects
from kneeformer.stages.fingerprint import Watch
from kneeformer.stages.request import Request
from kneeformer.stages.train import train_fold
from kneeformer.tasks import task_named
from kneeformer.training.loop import FINAL, LATEST, Moment

SCRATCH, PRETRAINED = "from scratch", "pre-trained"


@dataclass(frozen=True)
class Variant:
    """One way to pre-train and fine-tune: settings, as --set says them, of both stages or of one."""

    name: str
    both: tuple[str, ...] = ()
    pretraining: tuple[str, ...] = ()
    fine_tuning: tuple[str, ...] = ()


PLANNED = Variant("planned")
ABLATIONS = (
    Variant("ratio 50 %", pretraining=("masking.ratio=0.5",)),
    Variant("ratio 90 %", pretraining=("masking.ratio=0.9",)),
    Variant("blocks", pretraining=("masking.kind=block",)),
    Variant("slabs", pretraining=("masking.kind=slab",)),
    Variant("normalised target", pretraining=("masking.target=normalised",)),
    Variant("depth 3", both=("network.depth=3",)),
    Variant("depth 12", both=("network.depth=12",)),
    Variant("linear decoder", fine_tuning=("network.decoder=linear",)),
)


@dataclass(frozen=True)
class Study:
    """What to compare; what is None is the plan's.

    Attributes:
        labels: numbers of labelled subjects; None is all of the fold.
        seeds: each draws its own subjects, the same for both starts, the fewer among the more.
        epochs, minutes: of every fine-tuning and every training from scratch.
        pretraining_epochs, pretraining_minutes: of the stage before.
    """

    dataset: str
    configuration: str = "3d_vit"
    fold: int | str = 0
    plans: str = "kfPlans"
    labels: tuple[int | None, ...] = (5, 10, 20, None)
    seeds: tuple[int, ...] = (0, 1, 2)
    variants: tuple[Variant, ...] = (PLANNED,)
    epochs: int | None = None
    minutes: float | None = None
    pretraining_epochs: int | None = None
    pretraining_minutes: float | None = None
    pretrain_from: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: mean Dice over seeds and subjects, and what pre-training adds, in points."""

    variant: str
    labels: int | None
    start: str
    seeds: int
    dice: tuple[float, float, float]
    gain: tuple[float, float, float] | None


Scores = dict[tuple[str, int | None, str], np.ndarray]  # (seeds, subjects) mean Dice over the structures


def run_study(
    folders: Folders, study: Study, watch_training: Callable[[Moment], None], watch: Watch
) -> tuple[list[Row], Path]:
    """Train whatever is not trained yet, and compare; table.csv, table.md and curves.png in the folder.

    Every pair of trainings has the same subjects, seed, settings and length, and differs in where its
    weights start. A study that was stopped goes on where it was.

    Returns:
        The table, and the folder: pretraining_study in the dataset's results.

    Raises:
        KneeformerError: the fold has fewer labelled subjects than are to be learnt from; before all work.
    """
    home = folders.results / study.dataset / "pretraining_study"
    for labels in study.labels:
        wanted = Request(study.dataset, study.configuration, study.fold, study.plans, subjects=labels)
        refuse_more_subjects(folders, wanted)
    scores: Scores = {}
    for variant in study.variants:
        weights = _pretrain(folders, home, study, variant, watch_training, watch)
        for labels in study.labels:
            for start, checkpoint in ((SCRATCH, None), (PRETRAINED, weights)):
                runs = [
                    _fine_tune(folders, home, study, variant, labels, seed, checkpoint, watch_training, watch)
                    for seed in study.seeds
                ]
                scores[variant.name, labels, start] = np.stack([_by_subject(run) for run in runs])
    rows = list(_rows(scores))
    write_text(home / "table.csv", _csv(rows))
    write_text(home / "table.md", markdown(rows))
    _draw(scores, home / "curves.png")
    return rows, home


def _pretrain(
    folders: Folders,
    home: Path,
    study: Study,
    variant: Variant,
    watch_training: Callable[[Moment], None],
    watch: Watch,
) -> Path:
    """The checkpoint of a variant's first stage; variants that pre-train alike share it."""
    plan = read_plan(folders.plan_file(study.dataset, study.plans))
    stage = plan.configuration(study.configuration).previous_stage or next(
        (n for n, c in plan.configurations.items() if not task_named(c.task).needs_labels), None
    )
    if stage is None:
        raise KneeformerError(
            f"{study.plans} has no configuration that learns without labels, as 3d_mae does"
        )
    settings = (*variant.both, *variant.pretraining)
    place = _within(folders, home / "pretraining" / ("_".join(settings) or "planned"))
    request = Request(
        study.dataset,
        stage,
        study.fold,
        study.plans,
        epochs=study.pretraining_epochs,
        minutes=study.pretraining_minutes,
        device=study.device,
        pretrain_from=study.pretrain_from,
        settings=settings,
    )
    folder = request.folder(place)
    if not (folder / FINAL).is_file():
        train_fold(place, _going_on(request, folder), watch_training, watch)
    return folder / FINAL


def _fine_tune(
    folders: Folders,
    home: Path,
    study: Study,
    variant: Variant,
    labels: int | None,
    seed: int,
    checkpoint: Path | None,
    watch_training: Callable[[Moment], None],
    watch: Watch,
) -> Summary:
    settings = (*variant.both, *variant.fine_tuning)
    start = "_".join(settings) if checkpoint is None else variant.name.replace(" ", "_")
    name = f"{'scratch' if checkpoint is None else 'pretrained'}_{start or 'planned'}"
    place = _within(folders, home / f"labels_{labels or 'all'}" / name / f"seed_{seed}")
    request = Request(
        study.dataset,
        study.configuration,
        study.fold,
        study.plans,
        epochs=study.epochs,
        minutes=study.minutes,
        seed=seed,
        device=study.device,
        no_pretraining=checkpoint is None,
        pretrained_weights=checkpoint,
        subjects=labels,
        settings=settings,
    )
    folder = request.folder(place)
    if not (folder / "validation" / "summary.json").is_file():
        request = _going_on(request, folder)
        train_fold(place, replace(request, validate_only=(folder / FINAL).is_file()), watch_training, watch)
    return read_summary(folder / "validation")


def _within(folders: Folders, results: Path) -> Folders:
    return replace(folders, results=results)


def _going_on(request: Request, folder: Path) -> Request:
    return replace(request, resume=(folder / LATEST).is_file() and not (folder / FINAL).is_file())


def _by_subject(summary: Summary) -> np.ndarray:
    """(subjects,) mean Dice over the structures and cases of each validation subject, sorted by subject."""
    found: dict[str, list[float]] = {}
    for case in summary.metric_per_case:
        found.setdefault(case.subject, []).extend(m["Dice"] for m in case.metrics.values())
    return np.array([np.nanmean(found[subject]) for subject in sorted(found)])


def _rows(scores: Scores) -> Iterator[Row]:
    for (variant, labels, start), values in scores.items():
        gain = None
        if start == PRETRAINED:
            gain = seeds_and_subjects_interval(100 * (values - scores[variant, labels, SCRATCH]))
        yield Row(variant, labels, start, len(values), seeds_and_subjects_interval(values), gain)


def _csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("variant", "labels", "start", "seeds"),
            *("dice", "low", "high"),
            *("gain", "gain_low", "gain_high"),
        ]
    )
    for row in rows:
        gain = row.gain or ("", "", "")
        writer.writerow([row.variant, row.labels or "all", row.start, row.seeds, *row.dice, *gain])
    return text.getvalue()


def markdown(rows: list[Row]) -> str:
    """The table as people read it."""
    lines = [
        "| variant | labelled subjects | start | seeds | mean Dice (95 % CI) | gain in points (95 % CI) |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        dice = "{:.4f} ({:.4f} to {:.4f})".format(*row.dice)
        gain = "" if row.gain is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*row.gain)
        lines.append(
            f"| {row.variant} | {row.labels or 'all'} | {row.start} | {row.seeds} | {dice} | {gain} |"
        )
    return "\n".join(lines) + "\n"


def _draw(scores: Scores, picture: Path) -> None:
    curves: dict[str, list[tuple[str, tuple[float, float, float]]]] = {}
    for (variant, labels, start), values in scores.items():
        name = start if variant == PLANNED.name else f"{start}, {variant}"
        curves.setdefault(name, []).append((str(labels or "all"), seeds_and_subjects_interval(values)))
    draw_label_curves([Curve(name, tuple(points)) for name, points in curves.items()], picture)
