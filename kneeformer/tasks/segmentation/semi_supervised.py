"""Semi-supervised segmentation: the average of the student's weights labels images that have no labels.

Bidirectional copy-paste (Bai et al. 2023) with hard pseudo-labels of a mean teacher (Tarvainen & Valpola
2017), which sees crops before they are mixed and before their intensities are changed (Sohn et al. 2020).
"""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kneeformer.config import TeacherSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.losses import IGNORE_INDEX, region_targets
from kneeformer.engine.teacher import Examination
from kneeformer.labels import LabelScheme
from kneeformer.tasks.segmentation.copy_paste import paste_labelled, paste_unlabelled
from kneeformer.tasks.segmentation.labelled_structures import LabelledStructure
from kneeformer.tasks.segmentation.pseudo_labels import predicted_labels, pseudo_labels

_WIDER = 2.0  # that the range of volumes is than that of the labelled cases: a few do not show all of it


class PseudoLabelTeacher:
    """Labels crops and mixes them with labelled ones.

    Attributes:
        structures: of the scheme, in the labelled cases.
        examined: a few batches as PairedCrops makes them, not augmented.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        scheme: LabelScheme,
        structures: list[LabelledStructure],
        examined: Dataset[Batch],
    ) -> None:
        self.settings, self.scheme, self.structures, self.examined = settings, scheme, structures, examined

    def examples(self, average: nn.Module, batch: Batch, weight: float) -> Batch:
        """Mixtures of labelled crops; with a weight, of a labelled crop and one with pseudo-labels each."""
        if weight == 0:
            return paste_labelled(batch)
        components = tuple(structure.components for structure in self.structures)
        labels = pseudo_labels(_logits(average, batch), self.scheme, self.settings.confidence, components)
        labels = torch.where(batch["unlabelled_inside"], labels, IGNORE_INDEX)
        return paste_unlabelled(batch, labels, weight)

    def examine(self, average: nn.Module) -> Examination:
        """Volumes of the structures in pseudo-labels, as parts of those in labelled crops of the same places.

        The fault is a structure whose volume has left the range of the labelled cases.
        """
        found = labelled = torch.zeros(len(self.structures))
        device = next(average.parameters()).device
        for number in range(len(self.examined)):  # type: ignore[arg-type]
            batch = {role: part.to(device) for role, part in self.examined[number].items()}
            predicted, _ = predicted_labels(_logits(average, batch), self.scheme)
            predicted = torch.where(batch["unlabelled_inside"], predicted, IGNORE_INDEX)
            found = found + self._voxels(predicted)
            labelled = labelled + self._voxels(batch["labels"])
        ratios = (found / labelled.clamp(min=1)).tolist()
        faults = [
            f"{s.name} has {ratio:.2f} times the mean labelled volume, labelled cases have {s.smallest:.2f} "
            f"to {s.largest:.2f}"
            for s, ratio, there in zip(self.structures, ratios, labelled.tolist(), strict=True)
            if there and not s.smallest / _WIDER <= ratio <= s.largest * _WIDER
        ]
        figures = {f"pseudo-volume of {s.name}": r for s, r in zip(self.structures, ratios, strict=True)}
        return Examination(figures, "; ".join(faults) or None)

    def _voxels(self, labels: Tensor) -> Tensor:
        return region_targets(labels, self.scheme).sum((0, 2, 3, 4)).float().cpu()


@torch.no_grad()
def _logits(average: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = average(batch["unlabelled_plain"], batch["unlabelled_to_patient"])
    return logits
