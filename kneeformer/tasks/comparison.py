"""Comparison of the trained configurations of a task. Needs no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeformer.data.dataset import Dataset
from kneeformer.metrics.summary import CaseScores, read_summary
from kneeformer.progress import Progress


@dataclass(frozen=True)
class LeadingScore:
    """The score by which configurations are ranked: a metric of a validated case.

    Attributes:
        title: with its unit, as a table has it.
        part: of the case's scores, such as the hidden region; None is the mean over all structures.
    """

    metric: str
    title: str
    part: str | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class ValidationScores:
    """Scores of a validated fold.

    Attributes:
        hidden: of each case a digest of what was hidden in it, "" where nothing was.
    """

    hidden: Mapping[str, str]
    cases: tuple[CaseScores, ...]


@dataclass(frozen=True)
class Comparison:
    """Rules by which trained configurations of a task are compared.

    Attributes:
        scores: of a validated fold, from its folder, the dataset and the configuration.
    """

    leading: LeadingScore
    scores: Callable[[Path, Dataset, Any, Progress], ValidationScores]


def summary_scores(
    folder: Path, dataset: Dataset, configuration: object, watch: Progress
) -> ValidationScores:
    """The scores in the summary of a fold's validation, in which nothing was hidden.

    Raises:
        KneeformerError: the summary is missing or damaged.
    """
    cases = read_summary(folder / "validation").metric_per_case
    return ValidationScores({case.case: "" for case in cases}, cases)
