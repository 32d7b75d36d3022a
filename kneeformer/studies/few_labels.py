"""Shared by studies of trainings with few labels: what they refuse, pre-train and compare."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from kneeformer.data.dataset import Dataset
from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import WHOLE, ScoreTable
from kneeformer.paths import Folders, fold_name
from kneeformer.plans import read_dataset_plan
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.request import Request
from kneeformer.workflows.training_cases import split_of


def refuse_labels(folders: Folders, wanted: Request, labels: Sequence[int | None]) -> None:
    """Refuse numbers of labelled subjects that a fold cannot be compared at; None is all of them.

    Raises:
        KneeformerError: the fold holds nobody out, or has fewer subjects.
    """
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


def in_order(labels: Iterable[int | None]) -> tuple[int | None, ...]:
    """Numbers of labelled subjects, each once, the fewest first; None, all of them, last."""
    return tuple(sorted(set(labels), key=lambda n: (n is None, n)))


def pretraining_stage(folders: Folders, wanted: Request) -> str | None:
    """The stage before a configuration, or the first of its plan that learns without labels; None without."""
    plan = read_dataset_plan(folders, wanted.dataset, wanted.plans)
    return plan.configuration(wanted.configuration).previous_stage or next(
        (n for n, c in plan.configurations.items() if not task_named(c.task).needs_labels), None
    )


def dice_by_subject(table: ScoreTable) -> np.ndarray:
    """(subjects,) mean Dice of each validation subject, sorted by subject; NaN where it has none."""
    found = table.by_subject(DICE.name, WHOLE)
    return np.array([found.get(subject, math.nan) for subject in sorted({*table.subjects.values()})])
