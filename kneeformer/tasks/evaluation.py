"""Scores of a task's predictions, and the one that ranks its configurations. Needs no torch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kneeformer.data.description import DatasetDescription
from kneeformer.data.images import Image
from kneeformer.data.label_map import read_label_map
from kneeformer.metrics.metric import Metric
from kneeformer.metrics.score_table import WHOLE, Score


@dataclass(frozen=True)
class PredictedCase:
    """The files of a case that was predicted, and of its reference.

    Attributes:
        description: of the dataset, `without_cases`.
        prediction: the main output; what else the task has written of the case lies beside it.
        images: what it was predicted from; () where only reference and prediction are given (kf_evaluate).
        mask: with which it was predicted; None where the task requires none, or it is not given.
    """

    name: str
    reference: Path
    prediction: Path
    description: DatasetDescription
    images: tuple[Path, ...] = ()
    mask: Path | None = None

    @cached_property
    def reference_labels(self) -> Image:
        """The reference as a label map (z, y, x), read once. Raises KneeformerError: as `read_image`."""
        return read_label_map(self.reference)

    def beside(self, suffix: str) -> Path:
        """Another output: CASE_ct.nrrd for "_ct"."""
        return self.prediction.with_name(f"{self.name}{suffix}{self.description.file_ending}")


@dataclass(frozen=True)
class LeadingScore:
    """The score by which configurations are ranked: the mean of a metric over the structures in a region."""

    metric: Metric
    region: str = WHOLE

    @property
    def title(self) -> str:
        """With unit and region, as a table has it."""
        metric = self.metric.title.replace(" ", " in ")
        return f"mean {metric}" if self.region == WHOLE else f"mean {metric}, {self.region}"

    @property
    def lower_is_better(self) -> bool:
        return self.metric.better == "lower"


@dataclass(frozen=True)
class Evaluation:
    """The scores of a task's predictions.

    Attributes:
        score: the rows of a case, the same parts and metrics of every case, those first that lead. Called in
            a child process; raises KneeformerError where the files do not fit each other or mean something
            else.
        against_images: references are the images of the cases, as fully sampled k-space is of its own
            reconstruction; else their labels are.
    """

    score: Callable[[PredictedCase], Iterable[Score]]
    leading: LeadingScore
    against_images: bool = False
