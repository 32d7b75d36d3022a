"""Prepared bones as tensors."""

from pathlib import Path

import torch
from torch import Tensor

from kneeformer.data.storage import open_case


def stored_bone(case: Path, device: torch.device | None = None) -> Tensor:
    """(2, z, y, x) float32 of a prepared bone: CT in [0, 1] and signed distance in mm."""
    return torch.from_numpy(open_case(case.parent, case.name).image[:]).to(device)
