"""Segmentation: label maps from images, by a vision transformer behind a convolutional stem."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kneeformer.config import CropConfiguration, DatasetSettings, PreprocessingSettings
from kneeformer.config.settings import by
from kneeformer.data.images import Image
from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import crop_batches
from kneeformer.engine.losses import IGNORE_INDEX, region_targets, segmentation_loss
from kneeformer.engine.native import to_label_map, to_probabilities
from kneeformer.engine.sliding_window import VolumePredictor
from kneeformer.engine.teacher import Teacher
from kneeformer.engine.training_run import Objective, Validation
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import slice_plane
from kneeformer.labels import LabelScheme
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.vit import HybridTransformer
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.hybrid import hybrid_transformer
from kneeformer.reporting.overlays import draw_overlay
from kneeformer.tasks.base import PredictiveTask
from kneeformer.tasks.cases import Outputs, Scan, StoredCases
from kneeformer.tasks.crop_task import CropTask
from kneeformer.tasks.preparation import prepare_image
from kneeformer.tasks.segmentation.labelled_structures import labelled_structures
from kneeformer.tasks.segmentation.teacher import PseudoLabelTeacher

_UNLIKE = 4.0  # factor between the voxel sizes of scan and training set that calls for a warning


class Segmentation(CropTask, PredictiveTask[CropConfiguration]):
    """Configurations `3d_vit` (CNN decoder) and `3d_vit_linear` (the published baseline's linear decoder)."""

    prepared_by = ("pretraining",)
    planned_by_hours = True
    outputs: ClassVar[tuple[str, ...]] = ("*", "_probabilities.npz", ".png")
    predicts_structures: ClassVar[bool] = True

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, CropConfiguration]:
        hybrid = hybrid_transformer(fingerprint, dataset, budget)
        linear = hybrid.model_copy(
            update={
                "inherits_from": "3d_vit",
                "network": hybrid.network.model_copy(update={"decoder": "linear"}),
            }
        )
        return {"3d_vit": hybrid, "3d_vit_linear": linear}

    def network(self, dataset: DatasetSettings, configuration: CropConfiguration) -> nn.Module:
        settings = configuration.network
        decoder = build_decoder(settings, dataset.scheme.outputs)
        return HybridTransformer(len(dataset.channel_names), settings, decoder)

    def objective(self, dataset: DatasetSettings, configuration: CropConfiguration) -> Objective:
        return SegmentationObjective(dataset.scheme, configuration.training.loss)

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: CropConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        return crop_batches(stored.cases, dataset.scheme, configuration, seed, training)

    def teacher(
        self, training: StoredCases, dataset: DatasetSettings, configuration: CropConfiguration, seed: int
    ) -> Teacher | None:
        if configuration.teacher is None:
            return None
        structures = labelled_structures(training.cases, dataset.scheme)
        return PseudoLabelTeacher(
            configuration.teacher, configuration, dataset.scheme, training, structures, seed
        )

    def predict(
        self,
        networks: Sequence[nn.Module],
        scan: Scan,
        dataset: DatasetSettings,
        configuration: CropConfiguration,
        probabilities: bool = False,
    ) -> Outputs:
        scheme, settings = dataset.scheme, configuration.preprocessing
        prepared = prepare_image(scan, None, configuration, scheme)
        predictor = VolumePredictor(networks, scheme.outputs, configuration)
        logits = predictor(torch.from_numpy(prepared.image), prepared.orientation, prepared.spacing)
        labels = to_label_map(logits, prepared.box_shape, scheme, settings.thick_axis)
        outputs = {"": prepared.on_native_grid(labels)}
        if probabilities:
            shares = to_probabilities(logits, prepared.box_shape, scheme, settings.thick_axis)
            outputs["_probabilities"] = prepared.on_native_grid(shares)
            if not scheme.has_regions:  # the part that was cropped away is background
                background = outputs["_probabilities"][0]
                background[outputs["_probabilities"].sum(0) == 0] = 1
        return Outputs(outputs, warnings=_warnings(scan.grid, settings))

    def draw(
        self,
        scan: Scan,
        outputs: Outputs,
        reference: np.ndarray | None,
        scheme: LabelScheme,
        picture: Path,
        surfaces: bool = False,
    ) -> None:
        image = Image(scan.image[0], scan.grid)
        draw_overlay(image, outputs.volumes[""], scheme, picture, reference, outputs.warnings, surfaces)


def _warnings(grid: Grid, settings: PreprocessingSettings) -> tuple[str, ...]:
    """A line for each of slice plane and voxel size in which a scan differs from the training set."""
    unlike = []
    plane = slice_plane(grid.orientation(), grid.spacing)
    learnt = [slice_plane(o, settings.spacing) for o in settings.orientations]
    if plane is not None and plane not in learnt and None not in learnt:
        unlike.append(f"its slices are {plane}, those of the training set {' and '.join(map(str, learnt))}")
    times = (grid.voxel_mm3 / math.prod(settings.spacing)) ** (1 / 3)
    if not 1 / _UNLIKE <= times <= _UNLIKE:
        unlike.append(
            f"its spacing is {by(grid.spacing)} mm, that of the training set {by(settings.spacing)} mm, if "
            f"its header has it in mm"
        )
    return tuple(f"{line}: expect a poor segmentation" for line in unlike)


class SegmentationObjective:
    """The plan's loss; validated by the Dice of each structure over all validation crops together."""

    def __init__(self, scheme: LabelScheme, loss: str = "dice_ce") -> None:
        self.scheme = scheme
        self.criterion = segmentation_loss(loss, scheme)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self.criterion(network(batch["image"], batch["to_patient"]), batch["labels"])

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        losses: list[float] = []
        overlap = torch.zeros(len(self.scheme.names))
        size = torch.zeros(len(self.scheme.names))
        for batch in batches:
            labels = batch["labels"]
            logits = network(batch["image"], batch["to_patient"])
            losses.append(float(self.criterion(logits, labels)))
            truth = region_targets(labels, self.scheme)
            found = self._found(logits) & (labels != IGNORE_INDEX).unsqueeze(1)
            overlap += (truth & found).sum((0, 2, 3, 4)).cpu()
            size += (truth.sum((0, 2, 3, 4)) + found.sum((0, 2, 3, 4))).cpu()
        dice = 2 * overlap / size.clamp(min=1)
        named = zip(self.scheme.names, dice.tolist(), size.tolist(), strict=True)
        return Validation(sum(losses) / len(losses), {name: d for name, d, there in named if there})

    def _found(self, logits: Tensor) -> Tensor:
        if self.scheme.has_regions:
            return logits > 0
        winner = logits.argmax(1)
        return torch.stack([winner == channel for channel in range(1, self.scheme.outputs)], 1)
