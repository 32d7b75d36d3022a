"""Batches of crops that can be pasted into each other: of one place in the body, mirrored alike."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import Crop, CropBatches
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.errors import KneeformerError
from kneeformer.tasks.segmentation.copy_paste import draw_own, paste_labelled


class PairedCrops(Dataset[Batch]):
    """Batches of labelled crops, two by two of one place; and of as many without labels at the same places.

    "image", "labels" and "to_patient" are those of CropBatches; "own" is by `draw_own`. Crops without labels:
    "unlabelled" (b, c, z, y, x), for the student; "unlabelled_plain", the same before changes of intensity,
    for the teacher; "unlabelled_inside" (b, z, y, x) bool, voxels of their volume; and their
    "unlabelled_to_patient" (b, 3, 4).

    Attributes:
        unlabelled: None leaves these out: the labelled crops are then pasted into each other already.
    """

    def __init__(self, labelled: CropBatches, unlabelled: CropBatches | None) -> None:
        """Raises KneeformerError: ranks share the batch so that pairs are parted."""
        self.labelled, self.unlabelled = labelled, unlabelled
        items, size = labelled.items, labelled.settings.batch_size
        if items.start % 2 or (items.stop % 2 and items.stop < size):
            raise KneeformerError(
                f"training.batch_size {size}: crops are pasted into each other in pairs, so each process "
                f"needs an even number of them"
            )

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, step: int) -> Batch:
        if step >= len(self):
            raise IndexError(step)
        settings, items = self.labelled.settings, self.labelled.items
        rngs = [self.labelled.rng(step, item) for item in items]
        crops = self._pairs(rngs)
        batch_rng = np.random.default_rng([self.labelled.seed, step])
        own = draw_own(batch_rng, settings.batch_size, settings.crop)[items.start : items.stop]
        batch = {**_stacked(crops), "own": torch.from_numpy(own)}
        if self.unlabelled is None:
            return paste_labelled(batch)
        others = [self.unlabelled.crop(rng, at=crop.location) for rng, crop in zip(rngs, crops, strict=True)]
        return {
            **batch,
            "unlabelled": _stack([c.image for c in others]),
            "unlabelled_plain": _stack([c.plain for c in others]),
            "unlabelled_inside": _stack([c.labels[0] for c in others]) != IGNORE_INDEX,
            "unlabelled_to_patient": _stack([c.to_patient for c in others]),
        }

    def _pairs(self, rngs: list[np.random.Generator]) -> list[Crop]:
        crops: list[Crop] = []
        for number, rng in enumerate(rngs):
            if number % 2:
                crops.append(self.labelled.crop(rng, at=crops[-1].location))
            else:
                aimed = rng.random() < self.labelled.settings.foreground_share
                crops.append(self.labelled.crop(rng, aimed=aimed))
        return crops


def _stacked(crops: Sequence[Crop]) -> Batch:
    return {
        "image": _stack([c.image for c in crops]),
        "labels": _stack([c.labels[0] for c in crops]),
        "to_patient": _stack([c.to_patient for c in crops]),
    }


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
