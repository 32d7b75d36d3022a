"""Checkpoints: tensors and plain numbers, written whole or not at all, loaded without pickle."""

import os
from pathlib import Path
from typing import Any

import torch

from kneeformer.errors import KneeformerError

Checkpoint = dict[str, Any]


def save_checkpoint(path: Path, content: Checkpoint) -> None:
    """Replace `path` atomically; a kill leaves the old checkpoint."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as handle:
        torch.save(content, handle)
        handle.flush()
        os.fsync(handle.fileno())
    unfinished.replace(path)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint of kneeformer with `weights_only=True`.

    Raises:
        KneeformerError: missing, damaged, or holding anything but tensors and plain values.
    """
    if not path.is_file():
        raise KneeformerError(f"{path}: no such checkpoint; train it first with kf_train")
    try:
        content: Checkpoint = torch.load(path, map_location=device, weights_only=True)
    except Exception as fault:  # torch raises RuntimeError, EOFError, UnpicklingError, ...
        raise KneeformerError(
            f"{path}: not a readable checkpoint ({type(fault).__name__}); train it again"
        ) from fault
    if not isinstance(content, dict) or "network" not in content:
        raise KneeformerError(f"{path}: not a checkpoint of kneeformer: it holds no network")
    return content
