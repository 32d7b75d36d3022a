"""Bidirectional copy-paste: a box of one crop is pasted into another (Bai et al. 2023).

Crops that are pasted into each other show about the same place of the body, mirrored alike, so that the
mixture is anatomy but for the faces of the box.
"""

import numpy as np
import torch
from torch import Tensor

from kneeformer.engine.batch import Batch
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.geometry.aliases import Size

_SIDE = 2 / 3  # of the box, part of the crop's


def draw_own(rng: np.random.Generator, batch_size: int, crop: Size) -> np.ndarray:
    """Voxels that each crop of a batch keeps, (batch, z, y, x) bool: the rest comes from another crop.

    Crops take turns: one receives a box, the next is pasted as a box into the other.
    """
    sides = [max(1, round(_SIDE * n)) for n in crop]
    box = np.zeros((batch_size, *crop), bool)
    for inside in box:
        starts = [rng.integers(n - side + 1) for n, side in zip(crop, sides, strict=True)]
        z, y, x = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        inside[z, y, x] = True
    receives = (np.arange(batch_size) + rng.integers(2)) % 2 == 0
    return np.asarray(box ^ receives[:, None, None, None])


def paste(own: Tensor, crops: Tensor, others: Tensor | int) -> Tensor:
    """Crops where `own`, others elsewhere: images (batch, channels, z, y, x) or labels (batch, z, y, x)."""
    own = own.unsqueeze(1) if crops.ndim == own.ndim + 1 else own
    return torch.where(own, crops, others)


def paste_labelled(batch: Batch) -> Batch:
    """Mix the labelled crops of a batch, two by two; the last of an odd number stays as it is.

    Args:
        batch: with "own" as `draw_own` makes it.
    """
    count = len(batch["own"])
    partners = [i ^ 1 if i ^ 1 < count else i for i in range(count)]
    mixed = {role: paste(batch["own"], batch[role], batch[role][partners]) for role in ("image", "labels")}
    return {**mixed, "to_patient": batch["to_patient"]}


def paste_unlabelled(batch: Batch, pseudo_labels: Tensor, weight: float) -> Batch:
    """Mix each labelled crop of a batch with the one without labels at its place.

    Args:
        batch: with "own", and images without labels under "unlabelled".
        pseudo_labels: of those, (batch, z, y, x).

    Returns:
        A batch with labels where they are true under "labels", else under "pseudo_labels", the rest of either
        ignored; and their "pseudo_weight".
    """
    own = batch["own"]
    return {
        "image": paste(own, batch["image"], batch["unlabelled"]),
        "labels": paste(own, batch["labels"], IGNORE_INDEX),
        "pseudo_labels": paste(~own, pseudo_labels, IGNORE_INDEX),
        "pseudo_weight": torch.tensor(weight, device=own.device),
        "to_patient": batch["to_patient"],
    }
