"""Semi-supervised segmentation: the average of the student's weights labels whole unlabelled images.

A noisy student (Xie et al. 2020) with hard pseudo-labels of a mean teacher (Tarvainen & Valpola 2017): the
teacher sees whole images, mirrored as in prediction, and the student sees augmented crops of them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.config import CropConfiguration, TeacherSettings
from kneeformer.data.storage import open_case, record_file, relabel_case, structure_points
from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import crop_batches
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.engine.sliding_window import VolumePredictor
from kneeformer.engine.teacher import Labelling
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.segmentation.labelled_structures import LabelledStructure
from kneeformer.tasks.segmentation.pseudo_labelled import HalfPseudoLabelled
from kneeformer.tasks.segmentation.pseudo_labels import pseudo_labels


class PseudoLabelTeacher:
    """Labels images, and leaves out those whose structures are far smaller or larger than labelled ones.

    Attributes:
        structures: measured in the labelled cases.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        configuration: CropConfiguration,
        scheme: LabelScheme,
        training: StoredCases,
        structures: list[LabelledStructure],
        seed: int,
    ) -> None:
        self.settings, self.configuration, self.scheme = settings, configuration, scheme
        self.training, self.structures, self.seed = training, structures, seed

    @property
    def rounds(self) -> Sequence[float]:
        return self.settings.rounds

    def label(self, average: nn.Module, folder: Path) -> Labelling:
        begun = folder.with_name(f".{folder.name}")
        for old in (begun, folder):
            shutil.rmtree(old, ignore_errors=True)
        begun.mkdir(parents=True)
        predictor = VolumePredictor([average], self.scheme.outputs, self.configuration)
        trusted = [self._label(predictor, case, begun) for case in self._drawn()]
        begun.rename(folder)
        kept = [share for share in trusted if share is not None]
        if not kept:
            return Labelling({}, f"none of {len(trusted)} predictions has structures of a labelled volume")
        return Labelling({"images": len(kept), "trusted voxels": float(np.mean(kept))})

    def batches(self, folder: Path) -> Dataset[Batch]:
        labelled = crop_batches(self.training.cases, self.scheme, self.configuration, self.seed, True)
        cases = [c for c in self.training.unlabelled if record_file(folder, c.name).is_file()]
        if not cases:
            return labelled
        return HalfPseudoLabelled(
            labelled, crop_batches(cases, self.scheme, self.configuration, self.seed + 1, True, folder)
        )

    def _drawn(self) -> list[Path]:
        """The images to label, the same in every round."""
        order = np.random.default_rng(self.seed).permutation(len(self.training.unlabelled))
        return [self.training.unlabelled[i] for i in order[: self.settings.images]]

    def _label(self, predictor: VolumePredictor, path: Path, folder: Path) -> float | None:
        """Store pseudo-labels of an image and return the share of trusted voxels; None if implausible."""
        case = open_case(path.parent, path.name)
        image, record = torch.from_numpy(case.image[...]), case.record
        logits = predictor(image, record.orientation, record.spacing)[None]
        components = tuple(structure.components for structure in self.structures)
        labels = pseudo_labels(logits, self.scheme, self.settings.confidence, components)[0].numpy()
        masks = {s.name: self.scheme.structure(labels, s.name) for s in self.structures}
        if not all(s.is_plausible(int(masks[s.name].sum())) for s in self.structures):
            return None
        points = structure_points(labels, masks, seed=0)
        relabel_case(case, folder, labels, points, self.configuration.training.crop)
        return float((labels != IGNORE_INDEX).mean())
