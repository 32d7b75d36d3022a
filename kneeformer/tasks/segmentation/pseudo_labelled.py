"""Batches that are half labelled and half pseudo-labelled."""

import torch
from torch.utils.data import Dataset

from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import CropBatches


class HalfPseudoLabelled(Dataset[Batch]):
    """Batches with one half from each source; the sources swap halves after each step.

    Crops of both are thus centred on structures equally often, and batches of one crop alternate sources.
    """

    def __init__(self, labelled: CropBatches, pseudo_labelled: CropBatches) -> None:
        self.sources = (labelled, pseudo_labelled)

    def __len__(self) -> int:
        return len(self.sources[0])

    def __getitem__(self, step: int) -> Batch:
        if step >= len(self):
            raise IndexError(step)
        items, half = self.sources[0].items, self.sources[0].settings.batch_size // 2
        halves = (range(items.start, min(items.stop, half)), range(max(items.start, half), items.stop))
        turns = self.sources if step % 2 else self.sources[::-1]
        parts = [source.part(step, part) for source, part in zip(turns, halves, strict=True) if part]
        return {role: torch.cat([part[role] for part in parts]) for role in parts[0]}
