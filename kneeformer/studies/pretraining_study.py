"""Study of pre-training: trainings with few labels, from pre-trained weights or random initialisation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

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
    """Trainings to compare; None stands for the plan's value.

    Attributes:
        labels: numbers of labelled subjects; None is all of the fold.
        seeds: each draws its own subjects, the same for both starts, the fewer among the more.
        epochs, minutes: of every fine-tuning and every training from scratch.
        pretraining_epochs, pretraining_minutes: of the previous stage.
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
    dice: Interval
    gain: Interval | None


Scores = dict[tuple[str, int | None, str], np.ndarray]  # (seeds, subjects) mean Dice over the structures


def run_study(
    folders: Folders, study: Study, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> tuple[list[Row], Path]:
    """Train whatever is not trained yet, and compare; table.csv, table.md and curves.png in the folder.

    Every pair of trainings has the same subjects, seed, settings and length, and differs in where its
    weights start. A study that was stopped goes on where it was.

    Returns:
        The table, and the folder: pretraining_study in the dataset's results.

    Raises:
        KneeformerError: the fold holds nobody out, or has fewer labelled subjects than are to be learnt from,
            or trainings are there that were made otherwise than the study asks; all before all work.
    """
    home = folders.results / study.dataset / "pretraining_study"
    require_writable(home)
    study = replace(study, labels=in_order(study.labels))
    wanted = Request(study.dataset, study.configuration, study.fold, study.plans)
    refuse_labels(folders, wanted, study.labels)
    planned = [(variant, *_trainings(folders, home, study, variant)) for variant in study.variants]
    refuse_made_otherwise(t for _, first, runs in planned for t in (first, *chain(*runs.values())))
    scores: Scores = {}
    for variant, pretraining, fine_tunings in planned:
        if not pretraining.finished:
            pretraining.train(watch_training, watch)
        for (labels, start), runs in fine_tunings.items():
            summaries = [run.summary(watch_training, watch) for run in runs]
            scores[variant.name, labels, start] = np.stack([dice_by_subject(s.table) for s in summaries])
    rows = list(_rows(scores))
    write_text(home / "table.csv", _csv(rows))
    write_text(home / "table.md", study_markdown(rows))
    _draw(scores, home / "curves.png")
    return rows, home


def _trainings(
    folders: Folders, home: Path, study: Study, variant: Variant
) -> tuple[ExistingTraining, dict[tuple[int | None, str], list[ExistingTraining]]]:
    """The first stage of a variant, and what follows it or starts at random, a training a seed."""
    first = _pretraining(folders, home, study, variant)
    return first, {
        (labels, start): [_fine_tuning(folders, home, study, variant, labels, s, before) for s in study.seeds]
        for labels in study.labels
        for start, before in ((SCRATCH, None), (PRETRAINED, first))
    }


def _pretraining(folders: Folders, home: Path, study: Study, variant: Variant) -> ExistingTraining:
    """A variant's first stage; variants that pre-train alike share it."""
    wanted = Request(study.dataset, study.configuration, study.fold, study.plans)
    stage = pretraining_stage(folders, wanted)
    if stage is None:
        raise KneeformerError(
            f"{study.plans} has no configuration that learns without labels, as 3d_mae does"
        )
    settings = (*variant.both, *variant.pretraining)
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
    return ExistingTraining(
        replace(folders, results=home / "pretraining" / ("_".join(settings) or "planned")), request
    )


def _fine_tuning(
    folders: Folders,
    home: Path,
    study: Study,
    variant: Variant,
    labels: int | None,
    seed: int,
    before: ExistingTraining | None,
) -> ExistingTraining:
    settings = (*variant.both, *variant.fine_tuning)
    start = "_".join(settings) if before is None else variant.name.replace(" ", "_")
    name = f"{'scratch' if before is None else 'pretrained'}_{start or 'planned'}"
    request = Request(
        study.dataset,
        study.configuration,
        study.fold,
        study.plans,
        epochs=study.epochs,
        minutes=study.minutes,
        seed=seed,
        device=study.device,
        no_pretraining=before is None,
        pretrained_weights=None if before is None else before.folder / FINAL,
        subjects=labels,
        settings=settings,
    )
    results = home / f"labels_{labels or 'all'}" / name / f"seed_{seed}"
    return ExistingTraining(replace(folders, results=results), request, before)


def _rows(scores: Scores) -> Iterator[Row]:
    for (variant, labels, start), values in scores.items():
        gain = None
        if start == PRETRAINED:
            gain = seeds_and_subjects_interval(100 * (values - scores[variant, labels, SCRATCH]))
        yield Row(variant, labels, start, len(values), seeds_and_subjects_interval(values), gain)


def _csv(rows: list[Row]) -> str:
    nothing = Interval(math.nan, math.nan, math.nan)
    return csv_text(
        [
            *("variant", "labels", "start", "seeds"),
            *("dice", "low", "high"),
            *("gain", "gain_low", "gain_high"),
        ],
        (
            [row.variant, str(row.labels or "all"), row.start, row.seeds, *row.dice, *(row.gain or nothing)]
            for row in rows
        ),
    )


def study_markdown(rows: list[Row]) -> str:
    """The table as people read it."""
    titles = ["variant", "labelled subjects", "start", "seeds"]
    cells = (
        [
            *(row.variant, str(row.labels or "all"), row.start, str(row.seeds)),
            interval_text(row.dice, ".4f"),
            "" if row.gain is None else interval_text(row.gain, "+.2f"),
        ]
        for row in rows
    )
    return markdown([*titles, "mean Dice (95 % CI)", "gain in points (95 % CI)"], cells) + "\n"


def _draw(scores: Scores, picture: Path) -> None:
    curves: dict[tuple[str, str], list[tuple[str, tuple[float, float, float]]]] = {}
    for (variant, labels, start), values in scores.items():
        point = (str(labels or "all"), seeds_and_subjects_interval(values))
        curves.setdefault((start, "" if variant == PLANNED.name else variant), []).append(point)
    draw_label_curves([Curve(name, tuple(points), v) for (name, v), points in curves.items()], picture)
