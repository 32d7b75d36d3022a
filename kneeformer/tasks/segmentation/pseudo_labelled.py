"""Batches of which one half is labelled and the other pseudo-labelled."""

import torch
from torch.utils.data import Dataset

from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import CropBatches


class HalfPseudoLabelled(Dataset[Batch]):
    """The first half of a batch from one source and the second from the other, by turns.

    So both are aimed at structures as often, and batches of one crop have each source every second step.
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
