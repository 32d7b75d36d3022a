"""Checkpoints: tensors and plain numbers, written whole or not at all, verified, loaded without pickle."""

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kneeformer.data.files import written_whole
from kneeformer.errors import KneeformerError

Checkpoint = dict[str, Any]
Weights = dict[str, Tensor]

_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # of DistributedDataParallel and torch.compile


def save_checkpoint(path: Path, content: Checkpoint) -> None:
    """Replace `path`; a kill, or a full disk (DiskError), leaves the old checkpoint."""
    with written_whole(path) as beside, beside.open("wb") as handle:
        torch.save(content, handle)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint of kneeformer with `weights_only=True`: its "network", tensors by name, and the rest.

    Raises:
        KneeformerError: missing, damaged, or holding anything but tensors and plain values.
    """
    content = _load(path, device)
    weights = _weights(content.get("network")) if isinstance(content, dict) else None
    if weights is None:
        raise KneeformerError(f"{path}: not a checkpoint of kneeformer: it holds no network")
    return {**content, "network": weights}


def load_weights(path: Path) -> Weights:
    """The weights of a checkpoint of kneeformer, or of a plain `state_dict`.

    Raises:
        KneeformerError: as `load_checkpoint`.
    """
    content = _load(path, "cpu")
    weights = _weights(content.get("network", content)) if isinstance(content, dict) else None
    if weights is None:
        raise KneeformerError(
            f"{path}: holds no weights; give a checkpoint of kneeformer or a plain state_dict of tensors"
        )
    return weights


def digest(weights: Mapping[str, Tensor]) -> str:
    """A digest of weights: equal for equal numbers, whatever their layout in memory or in files."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_network(build: Callable[[], nn.Module], path: Path) -> nn.Module:
    """The network that `build` makes, with the weights of a checkpoint; on the CPU.

    Names and shapes are compared before the network takes any memory.

    Raises:
        KneeformerError: as `load_checkpoint`; or the weights are another network's, or not finite.
    """
    weights = load_checkpoint(path)["network"]
    with torch.device("meta"):
        _refuse_another(build(), weights, path)
    network = build()
    restore(network, weights, path)
    return network


def restore(network: nn.Module, weights: Weights, path: Path) -> None:
    """Give a network weights of the same names and shapes.

    Args:
        path: of their checkpoint, for errors.

    Raises:
        KneeformerError: they are another network's, or not finite where a new network's are.
    """
    _refuse_another(network, weights, path)
    new = network.state_dict()
    refuse_not_finite({name: w for name, w in weights.items() if is_finite(new[name])}, path)
    network.load_state_dict(weights)


def refuse_not_finite(weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Raises KneeformerError: some weights are NaN or infinite."""
    broken = [name for name, tensor in weights.items() if not is_finite(tensor)]
    if broken:
        raise KneeformerError(
            f"{path}: {len(broken)} of {len(weights)} tensors hold NaN or infinite weights ({broken[0]}): "
            f"the training diverged; take another checkpoint (kf_predict -chk best), or retrain with "
            f"--overwrite and a lower training.learning_rate"
        )


def is_finite(tensor: Tensor) -> bool:
    """True where no number of a tensor is NaN or infinite."""
    return bool(torch.isfinite(tensor).all())


def _load(path: Path, device: torch.device | str) -> Any:
    """Raises KneeformerError: missing, damaged, or more than tensors and plain values."""
    if not path.is_file():
        what = "a folder, not a checkpoint" if path.is_dir() else "no such checkpoint"
        raise KneeformerError(f"{path}: {what}; train it first with kf_train")
    try:
        damaged = _damaged_entry(path)
        content = None if damaged else torch.load(path, map_location=device, weights_only=True)
    except Exception as fault:  # torch raises RuntimeError, EOFError, UnpicklingError, ...
        raise KneeformerError(
            f"{path}: not a readable checkpoint ({type(fault).__name__}); train it again"
        ) from fault
    if damaged:
        raise KneeformerError(
            f"{path}: damaged, {damaged} in it is not what was written (its checksum differs); copy the "
            f"file again, or train it again"
        )
    return content


def _damaged_entry(path: Path) -> str | None:
    """Name of the first part of the file whose bytes have changed: torch does not look at the checksums."""
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise zipfile.BadZipFile("torch compresses nothing")
        return archive.testzip()


def _weights(content: Any) -> Weights | None:
    """Plain tensors by name, without the prefixes of wrappers; None if the content is anything else."""
    if not isinstance(content, dict) or not content:
        return None
    if not all(isinstance(name, str) and _is_plain(tensor) for name, tensor in content.items()):
        return None
    return {_WRAPPERS.sub("", name): tensor for name, tensor in content.items()}


def _is_plain(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and not (tensor.is_meta or tensor.is_quantized)
    )


def _refuse_another(network: nn.Module, weights: Weights, path: Path) -> None:
    wanted = network.state_dict()
    differing = [
        f"{name} is {_said(weights.get(name))} in it and {_said(wanted.get(name))} in the network"
        for name in dict.fromkeys([*wanted, *weights])
        if _said(weights.get(name)) != _said(wanted.get(name))
    ]
    if differing:
        raise KneeformerError(
            f"{path}: of another network than the plan describes, {len(differing)} tensors differ: "
            f"{'; '.join(differing[:2])}; restore the plan.json that it was trained with, or train it again "
            f"with --overwrite"
        )


def _said(tensor: Tensor | None) -> str:
    """Describe what must be equal in file and network; all floating-point types count as one."""
    if tensor is None:
        return "missing"
    kind = "" if tensor.is_floating_point() else f" {tensor.dtype}".replace("torch.", "")
    return f"{list(tensor.shape)}{kind}"
