"""What a task is: all that differs between segmentation, completion, reconstruction and pre-training."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from kneeformer.data.geometry import Geometry
from kneeformer.evaluation.scores import CaseMetrics
from kneeformer.labels import LabelScheme
from kneeformer.plan import Configuration, DatasetSettings
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.training.loop import Batch, Lesson

Volumes = dict[str, np.ndarray]


@dataclass(frozen=True)
class StoredCases:
    """Prepared cases, each as folder / name."""

    cases: list[Path]


class Task(ABC):
    """One kind of job. Tasks hold no state and never import each other.

    Attributes:
        prepared_by: names of the tasks whose configurations may come before this one's.
        needs_labels: False where images alone are learnt from: those of imagesUn then train as well.
    """

    prepared_by: tuple[str, ...] = ()
    needs_labels: bool = True

    @abstractmethod
    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, Configuration]:
        """The configurations this task proposes for a dataset on a machine, by name."""

    @abstractmethod
    def network(self, dataset: DatasetSettings, configuration: Configuration) -> nn.Module:
        """The network, from the plan alone: the same in training and in prediction."""

    @abstractmethod
    def lesson(self, dataset: DatasetSettings, configuration: Configuration) -> Lesson:
        """Loss and validation scores."""

    @abstractmethod
    def batches(
        self,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: Configuration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        """Batches from prepared cases, by number.

        Args:
            training: augmented batches without end, one a step; else the few validation batches, as they are.
        """


class PreparatoryTask(Task):
    """A task whose networks predict nothing themselves and hand their weights on."""

    @abstractmethod
    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: Configuration,
        output: Path,
    ) -> str:
        """Leave pictures and figures of a trained network in a folder.

        Args:
            network: in evaluation mode on its device.

        Returns:
            What to print of it.
        """


class PredictiveTask(Task):
    """A task whose networks are applied to cases, and scored against references.

    A case's outputs are volumes on its native grid, named by what is added to the case's file name: ""
    is the main one (CASE.nrrd), "_probabilities" would be CASE_probabilities.
    """

    @abstractmethod
    def predict(
        self,
        networks: Sequence[nn.Module],
        image: np.ndarray,
        geometry: Geometry,
        dataset: DatasetSettings,
        configuration: Configuration,
        probabilities: bool = False,
    ) -> Volumes:
        """Outputs of one case.

        Args:
            networks: one a fold, in evaluation mode on their device; their outputs are averaged.
            image: (channels, z, y, x) on its native grid, as read.
        """

    @abstractmethod
    def score(
        self,
        reference: np.ndarray,
        prediction: np.ndarray,
        spacing_mm: tuple[float, float, float],
        scheme: LabelScheme,
    ) -> CaseMetrics:
        """Metrics of a case's main output against its reference, both (z, y, x) on the native grid."""
