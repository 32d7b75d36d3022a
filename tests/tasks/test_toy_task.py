"""A task defined in one file and registered runs from scans to scores; no other module knows of it."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from kneeformer.config import Configuration, DatasetSettings, GridSettings, TrainingSettings
from kneeformer.data.dataset import Dataset as RawDataset
from kneeformer.data.images import write_image
from kneeformer.data.storage import open_case
from kneeformer.engine.batch import Batch
from kneeformer.engine.memory import training_state_gb
from kneeformer.engine.training_run import Validation
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.metrics.overlap import DICE
from kneeformer.paths import Folders
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.plans import read_plan
from kneeformer.tasks import registry
from kneeformer.tasks.base import PredictiveTask
from kneeformer.tasks.cases import Outputs, Scan, StoredCases
from kneeformer.tasks.evaluation import Evaluation, LeadingScore
from kneeformer.tasks.label_map_scores import score_label_maps
from kneeformer.tasks.preparation import PreparedCase
from kneeformer.workflows.evaluate import evaluate_folders
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.preprocess import preprocess_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold

pytestmark = pytest.mark.slow

NAME, SHAPE = "Dataset077_Bright", (6, 10, 12)
LABELS = {"background": 0, "bright": 1}


class ThresholdConfiguration(Configuration):
    """Its one setting of its own: how steep the network's step begins."""

    steepness: float = 1.0


class Prepared:
    orientation, spacing = "SPL", (1.0, 1.0, 1.0)
    warnings = ()

    def __init__(self, image: np.ndarray, labels: np.ndarray | None) -> None:
        self.image, self.labels = image.astype(np.float32) / 100, labels


class Threshold(nn.Module):
    """The logit of a voxel: above a threshold or below it."""

    def __init__(self, steepness: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([steepness, 0.0]))

    def forward(self, image: Tensor) -> Tensor:
        return self.weights[0] * image + self.weights[1]


class CrossEntropy:
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(network(batch["image"]), batch["labels"])

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        losses = [float(self.loss(network, batch)) for batch in batches]
        return Validation(sum(losses) / len(losses), {"likelihood": float(np.exp(-np.mean(losses)))})


class WholeCases(Dataset[Batch]):
    def __init__(self, cases: list[Path], endless: bool) -> None:
        self.cases, self.endless = cases, endless

    def __len__(self) -> int:
        return 10_000 if self.endless else len(self.cases)

    def __getitem__(self, number: int) -> Batch:
        if number >= len(self):
            raise IndexError(number)
        file = self.cases[number % len(self.cases)]
        stored = open_case(file.parent, file.name)
        assert stored.labels is not None
        return {
            "image": torch.from_numpy(np.asarray(stored.image[:])),
            "labels": torch.from_numpy(np.asarray(stored.labels[:])[None].astype(np.float32)),
        }


def prepare(
    scan: Scan, labels: np.ndarray | None, configuration: ThresholdConfiguration, scheme: LabelScheme
) -> PreparedCase:
    return Prepared(scan.image, labels)


class ThresholdTask(PredictiveTask[ThresholdConfiguration]):
    outputs: ClassVar[tuple[str, ...]] = ("*",)

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> Mapping[str, Configuration]:
        training = TrainingSettings(
            crop=SHAPE, batch_size=1, epochs=2, steps_per_epoch=100, learning_rate=0.3, warmup_steps=1
        )
        grid = GridSettings(folder="bright", spacing=fingerprint.median_spacing)
        return {"threshold": ThresholdConfiguration(task="toy", preprocessing=grid, training=training)}

    def needed_gb(
        self, network: nn.Module, configuration: ThresholdConfiguration, device: torch.device
    ) -> float:
        return training_state_gb(network, 0)

    def network(self, dataset: DatasetSettings, configuration: ThresholdConfiguration) -> nn.Module:
        return Threshold(configuration.steepness)

    def objective(self, dataset: DatasetSettings, configuration: ThresholdConfiguration) -> CrossEntropy:
        return CrossEntropy()

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: ThresholdConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        return WholeCases(stored.cases, training)

    def predict(
        self,
        networks: Sequence[nn.Module],
        scan: Scan,
        dataset: DatasetSettings,
        configuration: ThresholdConfiguration,
        probabilities: bool = False,
    ) -> Outputs:
        prepared = prepare(scan, None, configuration, dataset.scheme)
        with torch.no_grad():
            logits = networks[0](torch.from_numpy(prepared.image))
        return Outputs({"": (logits[0] > 0).numpy().astype(np.uint8)})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))  # the others of this process see no toy
    evaluation = Evaluation(score_label_maps, LeadingScore(DICE))
    registry.register("toy", registry.Registered(ThresholdConfiguration, prepare, ThresholdTask, evaluation))
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # child processes cannot import a test
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    registry.task_named.cache_clear()


def write_dataset(folder: Path) -> None:
    """Voxels of 60 to 90 are bright, all others are of 0 to 40."""
    rng, grid = np.random.default_rng(0), Grid(SHAPE, (2.0, 1.0, 1.0))
    for part, count in (("Tr", 5), ("Ts", 2)):
        for number in range(count):
            labels = (rng.random(SHAPE) < 0.3).astype(np.uint8)
            image = np.where(labels, rng.integers(60, 91, SHAPE), rng.integers(0, 41, SHAPE)).astype(np.int16)
            write_image(folder / f"images{part}" / f"{part}{number}_0000.nrrd", image, grid)
            write_image(folder / f"labels{part}" / f"{part}{number}.nrrd", labels, grid)
    description = {"channel_names": {"0": "PD"}, "labels": LABELS, "file_ending": ".nrrd", "task": "toy"}
    (folder / "dataset.json").write_text(json.dumps(description))


def nobody(*_: object) -> None:
    """Watches nothing."""


@pytest.mark.usefixtures("toy")
def test_a_task_of_one_file_runs_from_scans_to_scores(tmp_path: Path) -> None:
    folders = Folders(*(tmp_path / name for name in ("raw", "preprocessed", "results")))
    raw = folders.raw / NAME
    write_dataset(raw)
    plan_dataset(folders, NAME, 1, nobody)
    plan = read_plan(folders.plan_file(NAME))
    assert isinstance(plan.configuration("threshold"), ThresholdConfiguration)
    assert preprocess_dataset(folders, plan, ["threshold"], 1, nobody) == {"bright": 5}

    outcome = train_fold(folders, Request(NAME, "threshold", 0), nobody, nobody)
    assert outcome.summary is not None and outcome.summary.mean["bright"]["Dice"] == 1

    predictor = Predictor.from_model_folder(folders.model(NAME, "threshold"))
    output = tmp_path / "predictions"
    assert predict_folder(predictor, Sources(raw / "imagesTs"), output, nobody) == []
    description = RawDataset.open(raw).description
    summary = evaluate_folders(raw / "labelsTs", output, description, output, 1, nobody)
    assert summary.cases == 2 and summary.mean["bright"]["Dice"] == 1
