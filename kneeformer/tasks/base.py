"""The contract of a task: everything that differs between one kind of job and another."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.config import Configuration, Cost, DatasetSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.memory import refuse_too_large
from kneeformer.engine.teacher import Teacher
from kneeformer.engine.training_run import Objective
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.metrics.score_table import Score
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.progress import Progress
from kneeformer.tasks.cases import Outputs, Scan, StoredCases

Planned = TypeVar("Planned", bound=Configuration)


class Task(ABC, Generic[Planned]):
    """One kind of job. Tasks hold no state and never import each other.

    A task that is no `PredictiveTask` only trains weights for others; `review` is all that shows them.

    Attributes:
        prepared_by: names of the tasks whose configurations may come before this one's.
        needs_labels: False if training uses images alone, including those of imagesUn.
        stores_labels: whether its prepared cases have label maps beside their images.
        needs_float64: whether its networks compute in double precision.
        shares_batches: whether several processes can share a step: each takes a part of the batch, and losses
            pool their sums (`networks.ranks`).
        planned_by_hours: whether the time that a training may take decides its steps and its network.
        predicts: whether its networks predict cases and are validated on whole ones.
    """

    predicts: ClassVar[bool] = False
    prepared_by: tuple[str, ...] = ()
    needs_labels: bool = True
    stores_labels: bool = True
    needs_float64: bool = False
    shares_batches: bool = False
    planned_by_hours: bool = False

    @abstractmethod
    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> Mapping[str, Configuration]:
        """The configurations this task proposes for a dataset on a machine, by name.

        One of them may belong to another task that does a part of the work on its cases.
        """

    def published(
        self, proposed: Mapping[str, Configuration], fingerprint: Fingerprint, budget: Budget
    ) -> Mapping[str, Configuration]:
        """The configurations by the recipe of the published paper; by default those proposed."""
        return proposed

    def refuse_too_large(
        self, dataset: DatasetSettings, configuration: Planned, device: torch.device
    ) -> None:
        """Raises KneeformerError: a training step takes far more memory than the device has."""
        build = partial(self.network, dataset, configuration)
        needed = partial(self.needed_gb, configuration=configuration, device=device)
        refuse_too_large(build, needed, configuration.training, device)

    @abstractmethod
    def needed_gb(self, network: nn.Module, configuration: Planned, device: torch.device) -> float:
        """GiB of memory of a training step, by formula; only the sizes of the network are read."""

    def estimate_step(
        self,
        network: nn.Module,
        dataset: DatasetSettings,
        configuration: Planned,
        budget: Budget,
    ) -> Cost | None:
        """The cost of a training step by formula; None where none is known.

        Args:
            network: only its sizes are read.
            budget: its speed counts, not its memory.
        """
        return None

    def measure_step(
        self, network: nn.Module, dataset: DatasetSettings, configuration: Planned, device: torch.device
    ) -> Cost | None:
        """The measured cost of a training step on this machine; None where it cannot be measured."""
        return None

    @abstractmethod
    def network(self, dataset: DatasetSettings, configuration: Planned) -> nn.Module:
        """The network, built from the plan alone: the same for training and prediction."""

    def begin(
        self, network: nn.Module, training: StoredCases, configuration: Planned, watch: Progress
    ) -> None:
        """Fit the network to the training cases before its first step; by default do nothing.

        Args:
            network: on its device, with the weights of the previous stage.
            watch: receives the progress.
        """

    @abstractmethod
    def objective(self, dataset: DatasetSettings, configuration: Planned) -> Objective:
        """Return loss and validation scores."""

    @abstractmethod
    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: Planned,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        """Batches of prepared cases, by number.

        Args:
            network: after `begin`, for tasks whose examples depend on it.
            training: True for endless augmented batches, one per step; False for the few validation batches.
        """

    def teacher(
        self, training: StoredCases, dataset: DatasetSettings, configuration: Planned, seed: int
    ) -> Teacher | None:
        """The teacher that labels images during a training; by default None."""
        return None

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: Planned,
        output: Path,
    ) -> str:
        """Write pictures and figures of a trained network to a folder; by default do nothing.

        Args:
            network: in evaluation mode on its device.

        Returns:
            Text to print.
        """
        return ""


class PredictiveTask(Task[Planned]):
    """A task whose networks are applied to cases, and scored against references.

    Attributes:
        outputs: suffixes, after the case's name, of all files that may be written; * stands for the ending
            of the dataset.
        predicts_structures: whether its main volume is a label map of the dataset's structures.
        requires_mask: whether a case needs a mask: bone to keep, region to complete.
        bone_finder: name of the segmentation that finds the bone to keep where a mask marks none.
    """

    outputs: ClassVar[tuple[str, ...]]
    predicts: ClassVar[bool] = True
    predicts_structures: ClassVar[bool] = False
    requires_mask: ClassVar[bool] = False
    bone_finder: ClassVar[str | None] = None

    def make_validation_mask(
        self, labels: np.ndarray, grid: Grid, scheme: LabelScheme, number: int
    ) -> np.ndarray | None:
        """The mask of a validation case, drawn from its reference; None where the task requires none.

        Args:
            labels: (z, y, x) reference on the native grid.
            number: of the case, which seeds the draw.
        """
        return None

    def undersampled(self, scan: Scan, acceleration: float, name: str, configuration: Planned) -> Scan:
        """The scan with the samples that an accelerated scan would measure; `name` seeds their choice.

        Raises:
            KneeformerError: the task does not reconstruct.
        """
        raise KneeformerError(f"task {configuration.task!r} does not reconstruct; omit --simulate")

    def simulated_acceleration(self, configuration: Planned) -> float | None:
        """The acceleration at which whole validation cases are predicted; None keeps all samples."""
        return None

    @abstractmethod
    def predict(
        self,
        networks: Sequence[nn.Module],
        scan: Scan,
        dataset: DatasetSettings,
        configuration: Planned,
        probabilities: bool = False,
    ) -> Outputs:
        """Predict one case.

        Args:
            networks: one per fold, in evaluation mode on their device; their outputs are averaged.
        """

    def score_prepared(self, network: nn.Module, case: Path, number: int) -> Iterable[Score]:
        """Scores of the raw output for a prepared validation case, on the network's grid; by default none.

        Predictions are scored by the task's `Evaluation`.

        Args:
            network: of one fold, in evaluation mode on its device.
            case: stored case, as folder / name.
            number: of the case, as a seed.
        """
        return ()

    def draw(
        self,
        scan: Scan,
        outputs: Outputs,
        reference: np.ndarray | None,
        scheme: LabelScheme,
        picture: Path,
        surfaces: bool = False,
    ) -> None:
        """Draw a PNG of the prediction, and of the reference if there is one; by default do nothing.

        Args:
            reference: (z, y, x) on the native grid.
            scheme: of the dataset's labels.
            surfaces: also render surfaces, which takes longer than the rest.
        """
