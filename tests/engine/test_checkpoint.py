"""Checkpoints: whole or not at all, and no pickle."""

import math
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from kneeformer.engine.checkpoint import digest, load_checkpoint, load_network, load_weights, save_checkpoint
from kneeformer.errors import KneeformerError

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


def network(width: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1))


def saved(file: Path, **changes: object) -> Path:
    """A checkpoint of that network, with entries changed or, where None, left out."""
    whole = {"network": network().state_dict(), "state": STATE} | changes
    save_checkpoint(file, {key: value for key, value in whole.items() if value is not None})
    return file


def test_one_flipped_bit_of_a_weight_is_found(tmp_path: Path) -> None:
    """torch itself loads the other weight without a word."""
    file = saved(tmp_path / "checkpoint.pt")
    content = bytearray(file.read_bytes())
    weight = network().state_dict()["0.weight"].numpy().tobytes()
    content[content.index(weight) + 5] ^= 1 << 4
    file.write_bytes(content)
    assert not torch.equal(
        torch.load(file, weights_only=True)["network"]["0.weight"], network().state_dict()["0.weight"]
    )
    with pytest.raises(
        KneeformerError, match=r"checkpoint\.pt: damaged, .*/data/\d+ in it is not what was w"
    ):
        load_checkpoint(file)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"version https://git-lfs", bytes(4096)])
def test_what_is_no_torch_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(content)
    with pytest.raises(KneeformerError, match=r"checkpoint\.pt: not a readable checkpoint \(BadZipFile\)"):
        load_checkpoint(file)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="a folder, not a checkpoint"):
        load_checkpoint(tmp_path)


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    file, packed = saved(tmp_path / "checkpoint.pt"), tmp_path / "packed.pt"
    with zipfile.ZipFile(file) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    with pytest.raises(KneeformerError, match="not a readable checkpoint"):
        load_checkpoint(packed)


@pytest.mark.parametrize(
    "weights",
    [{}, [], 3, {"a": 1}, {1: torch.ones(1)}, {"a": torch.eye(2).to_sparse()}, {"a": {"b": torch.ones(1)}}],
    ids=str,
)
def test_a_network_is_plain_tensors_by_name(tmp_path: Path, weights: object) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"network": weights})
    with pytest.raises(KneeformerError, match="it holds no network"):
        load_checkpoint(file)
    with pytest.raises(KneeformerError, match="holds no weights"):
        load_weights(file)


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod.", "module._orig_mod.module."])
def test_prefixes_of_wrappers_are_left_away(tmp_path: Path, wrapped: str) -> None:
    plain = network().state_dict()
    prefixed = {f"{wrapped}{name}": tensor for name, tensor in plain.items()}
    for content in (prefixed, {"network": prefixed}):
        save_checkpoint(tmp_path / "weights.pt", content)
        found = load_weights(tmp_path / "weights.pt")
        assert found.keys() == plain.keys() and all(torch.equal(found[k], plain[k]) for k in plain)
    found = load_network(network, tmp_path / "weights.pt").state_dict()
    assert all(torch.equal(found[k], plain[k]) for k in plain)


def test_a_network_comes_back_with_its_weights(tmp_path: Path) -> None:
    file = saved(tmp_path / "checkpoint.pt", network=network().bfloat16().state_dict())
    found = load_network(lambda: nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), file)
    assert all(p.dtype == torch.float32 for p in found.parameters()), "of another precision, but the same"
    assert torch.allclose(found(torch.ones(1, 3)), network()(torch.ones(1, 3)), atol=1e-2)


def test_another_networks_weights_are_told_by_their_first_tensors(tmp_path: Path) -> None:
    file = saved(tmp_path / "checkpoint.pt")
    with pytest.raises(KneeformerError) as caught:
        load_network(lambda: network(width=4), file)
    assert str(caught.value) == (
        f"{file}: of another network than the plan describes, 3 tensors differ: 0.weight is [2, 3] in it and "
        f"[4, 3] in the network; 0.bias is [2] in it and [4] in the network; restore the plan.json that it "
        f"was trained with, or train it again with --overwrite"
    )
    with pytest.raises(
        KneeformerError, match=r"2 tensors differ: 1\.weight is \[1, 2\] in it and missing in"
    ):
        load_network(lambda: nn.Sequential(nn.Linear(3, 2)), file)


def test_it_is_compared_before_the_network_takes_memory(tmp_path: Path) -> None:
    file = saved(tmp_path / "checkpoint.pt")
    with pytest.raises(KneeformerError, match=r"\[1000000, 1000000\] in the network"):
        load_network(lambda: nn.Sequential(nn.Linear(1_000_000, 1_000_000)), file)


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number(tmp_path: Path, kind: torch.dtype) -> None:
    other = {name: tensor.to(kind) for name, tensor in network().state_dict().items()}
    with pytest.raises(KneeformerError, match=r"0\.weight is \[2, 3\] \w+ in it and \[2, 3\] in the network"):
        load_network(network, saved(tmp_path / "checkpoint.pt", network=other))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    broken = network().state_dict()
    broken["1.bias"][0] = value
    with pytest.raises(
        KneeformerError, match=r"1 of 4 tensors hold NaN or infinite weights \(1\.bias\).*-chk b"
    ):
        load_network(network, saved(tmp_path / "checkpoint.pt", network=broken))


def test_what_a_new_network_has_not_finite_may_stay_so(tmp_path: Path) -> None:
    """As the places of a prior for more bones than there are."""

    def build() -> nn.Module:
        made = nn.Module()
        made.register_buffer("bones", torch.full((3, 2), math.nan))
        return made

    kept = {"bones": torch.tensor([[1.0, 2], [math.nan, math.nan], [math.nan, math.nan]])}
    found = load_network(build, saved(tmp_path / "checkpoint.pt", network=kept)).state_dict()["bones"]
    assert found[0].tolist() == [1, 2] and found[1:].isnan().all()


def test_a_digest_is_of_the_numbers_and_not_of_their_place_in_memory() -> None:
    kernel = torch.arange(16.0).view(1, 2, 2, 2, 2)
    weights = {"kernel": kernel, "bias": torch.tensor(1.0)}
    turned = {"bias": torch.tensor(1.0), "kernel": kernel.to(memory_format=torch.channels_last_3d)}
    assert digest(turned) == digest(weights)
    assert digest({**weights, "bias": torch.tensor(1.0 + 1e-6)}) != digest(weights)
    assert digest({**weights, "kernel": kernel.view(2, 1, 2, 2, 2)}) != digest(weights)
    assert digest({"kernels": kernel, "bias": torch.tensor(1.0)}) != digest(weights)
