"""Checkpoints: whole or not at all, and no pickle."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from kneeformer.errors import KneeformerError
from kneeformer.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"step": 7, "seconds": 1.5, "best": -1.0}


class Unfriendly:
    """Something that only pickle could bring back."""


def content() -> dict[str, object]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "state": STATE}


def test_round_trip(tmp_path: Path) -> None:
    file, saved = tmp_path / "checkpoint.pt", content()
    save_checkpoint(file, saved)
    loaded = load_checkpoint(file)
    assert loaded["state"] == STATE
    assert all(torch.equal(loaded["network"][k], v) for k, v in saved["network"].items())  # type: ignore[attr-defined]
    twin = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(twin.parameters(), fused=True)
    optimiser.load_state_dict(loaded["optimiser"])
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, content())
    with pytest.raises(Exception, match=r"pickle|generator"):
        save_checkpoint(file, {"network": (n for n in range(3))})
    assert load_checkpoint(file)["state"] == STATE


def test_only_tensors_and_plain_values_are_loaded(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save({"network": Unfriendly()}, file)
    with pytest.raises(
        KneeformerError, match=r"checkpoint\.pt: not a readable checkpoint \(UnpicklingError\)"
    ):
        load_checkpoint(file)


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_damaged_file_is_named(tmp_path: Path, share: float) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, content())
    whole = file.read_bytes()
    file.write_bytes(whole[: math.floor(len(whole) * share)])
    with pytest.raises(KneeformerError, match=r"checkpoint\.pt: not a readable checkpoint .*train it again"):
        load_checkpoint(file)


@pytest.mark.parametrize("other", [{"weights": torch.ones(1)}, [1, 2], 3, torch.ones(2)])
def test_a_file_of_another_kind(tmp_path: Path, other: object) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save(other, file)
    with pytest.raises(KneeformerError, match="not a checkpoint of kneeformer: it holds no network"):
        load_checkpoint(file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match=r"none\.pt: no such checkpoint; train it first with kf_train"):
        load_checkpoint(tmp_path / "none.pt")
