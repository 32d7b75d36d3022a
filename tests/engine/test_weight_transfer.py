"""Weights move from one network into another by name, fitted to other channels, and nothing else changes."""

import pytest
import torch
from torch import Tensor, nn

from kneeformer.config import MaskingSettings, NetworkSettings
from kneeformer.engine.weight_transfer import Transfer, transfer
from kneeformer.errors import KneeformerError
from kneeformer.networks.compute import to_device
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.networks.vit import HybridTransformer

SMALL = {
    "stem": [
        {"channels": 4, "stride": [1, 1, 1], "kernel": [1, 3, 3]},
        {"channels": 12, "stride": [1, 2, 2], "kernel": [3, 3, 3]},
    ],
    "width": 12,
    "depth": 1,
    "heads": 2,
}
FIRST = "stem.stages.0.0.convolution.weight"


def hybrid(channels: int = 1, outputs: int = 3, decoder: str = "cnn", seed: int = 1) -> HybridTransformer:
    torch.manual_seed(seed)
    settings = NetworkSettings.model_validate({**SMALL, "decoder": decoder})
    return HybridTransformer(channels, settings, build_decoder(settings, outputs))


def autoencoder(channels: int = 1, decoder: str = "cnn") -> MaskedAutoencoder:
    torch.manual_seed(0)
    masking = MaskingSettings(filler_width=12, filler_depth=1)
    settings = NetworkSettings.model_validate({**SMALL, "decoder": decoder})
    return MaskedAutoencoder(channels, settings, masking, build_decoder(settings, channels))


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def names(state: dict[str, Tensor], *parts: str) -> set[str]:
    return {name for name in state if name.split(".")[0] in parts}


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
def test_all_of_the_autoencoder_moves_but_its_filler_and_the_last_layer_is_new(decoder: str) -> None:
    source, network = copied(autoencoder(decoder=decoder)), hybrid(decoder=decoder)
    before = copied(network)
    outcome = transfer(source, network, "file")
    after = network.state_dict()
    head = {name for name in after if name.startswith("decoder.head.")}
    assert set(outcome.loaded) == set(after) - head == outcome.transferred and not outcome.resized
    assert len(head) == 2 and set(outcome.new) == head
    assert set(outcome.unused) == names(source, "filler") | head
    assert all(torch.equal(after[name], source[name]) for name in outcome.loaded)
    assert all(torch.equal(after[name], before[name]) for name in outcome.new)


@pytest.mark.parametrize(("old", "new"), [("cnn", "linear"), ("linear", "cnn")])
def test_between_decoders_of_two_kinds_stem_and_encoder_move(old: str, new: str) -> None:
    source, network = copied(autoencoder(decoder=old)), hybrid(decoder=new)
    outcome = transfer(source, network, "file")
    assert outcome.transferred == outcome.fine_tuned == names(network.state_dict(), "stem", "encoder")
    assert set(outcome.new) == names(network.state_dict(), "decoder")
    assert set(outcome.unused) == names(source, "filler", "decoder")


def test_all_that_was_taken_is_held_back_at_first_but_the_decoder() -> None:
    network = hybrid()
    outcome = transfer(copied(autoencoder(2)), network, "file")
    state = network.state_dict()
    assert names(state, "decoder") & outcome.transferred, "the decoder moves too, and learns from the start"
    assert outcome.fine_tuned == names(state, "stem", "encoder") and FIRST in outcome.resized
    assert not Transfer(loaded=["decoder.head.bias"]).fine_tuned
    assert Transfer(loaded=["decoders.x"], resized=["y"]).fine_tuned == {"decoders.x", "y"}


def test_every_tensor_is_told_once() -> None:
    source, network = copied(autoencoder(2)), hybrid()
    outcome = transfer(source, network, "file")
    assert sorted(outcome.loaded + outcome.resized + outcome.new) == sorted(network.state_dict())
    assert sorted(outcome.loaded + outcome.resized + outcome.unused) == sorted(source)


def test_the_checkpoint_is_not_changed_and_shares_no_memory() -> None:
    source, network = copied(autoencoder(2)), hybrid()
    before = {name: tensor.clone() for name, tensor in source.items()}
    transfer(source, network, "file")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(torch.equal(source[name], before[name]) for name in before)


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (2, 3)])
def test_with_equal_channels_other_numbers_of_them_give_the_same_features(old: int, new: int) -> None:
    model, network = autoencoder(old).eval(), hybrid(new).eval()
    outcome = transfer(copied(model), network, "file")
    assert outcome.resized == [FIRST]
    image = torch.randn(2, 1, 4, 8, 6, generator=torch.Generator().manual_seed(2))
    for given, found in zip(
        model.stem(image.expand(-1, old, -1, -1, -1)),
        network.stem(image.expand(-1, new, -1, -1, -1)),
        strict=True,
    ):
        assert torch.allclose(found, given, atol=1e-4)


def test_channels_of_features_are_no_images_and_are_not_averaged() -> None:
    """Of a wider stem the second convolution sees other features, each of which means something else."""
    stem = [{**SMALL["stem"][0], "channels": 6}, SMALL["stem"][1]]  # type: ignore[index]
    settings = NetworkSettings.model_validate({**SMALL, "stem": stem})
    wider = HybridTransformer(1, settings, build_decoder(settings, 3))
    outcome = transfer(copied(autoencoder()), wider, "file")
    assert not outcome.resized
    assert {FIRST, "stem.stages.1.0.convolution.weight"} <= set(outcome.new)
    assert "stem.stages.1.1.block.convolution.weight" in outcome.loaded


def test_each_of_the_new_channels_has_an_equal_part_by_hand() -> None:
    source, network = (
        {"weight": torch.tensor([1.0, 3, 8]).view(1, 3, 1, 1, 1)},
        nn.Conv3d(2, 1, 1, bias=False),
    )
    assert transfer(source, network, "file").resized == ["weight"]
    assert network.weight.flatten().tolist() == [6, 6]


def test_a_head_of_other_outputs_stays_as_it_was() -> None:
    source, network = copied(hybrid(outputs=5)), hybrid(outputs=3, seed=2)
    before = copied(network)
    outcome = transfer(source, network, "file")
    head = {"decoder.head.weight", "decoder.head.bias"}
    assert set(outcome.new) == set(outcome.unused) == head
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in head)
    assert set(outcome.loaded) == set(before) - head


def test_the_same_network_moves_whole() -> None:
    source, network = copied(hybrid()), hybrid(seed=2)
    outcome = transfer(source, network, "file")
    image, upright = torch.randn(1, 1, 2, 8, 8), torch.eye(3, 4)[None]
    assert torch.equal(network.eval()(image, upright), hybrid().eval()(image, upright))
    assert outcome.describe() == f"{len(source)} tensors loaded, 0 resized, 0 unused; 0 randomly initialised"


def test_memory_layout_is_kept() -> None:
    network = to_device(hybrid(3), torch.device("cpu"))
    transfer(copied(autoencoder()), network, "file")
    kernels = [p for p in network.stem.parameters() if p.ndim == 5]
    assert all(p.is_contiguous(memory_format=torch.channels_last_3d) for p in kernels)


@pytest.mark.parametrize("shape", [(4, 1, 3, 3, 3), (5, 1, 1, 3, 3), (4, 9), (4,)])
def test_what_has_another_shape_is_left(shape: tuple[int, ...]) -> None:
    source = {**copied(autoencoder()), FIRST: torch.ones(shape)}
    outcome = transfer(source, hybrid(), "file")
    assert FIRST in outcome.unused and FIRST in outcome.new and not outcome.resized


def test_nothing_that_fits_is_an_error_that_changes_nothing() -> None:
    network = hybrid()
    before = copied(network)
    source = {"layer1.weight": torch.zeros(2), "encoder.norm.weight": torch.zeros(13)}
    with pytest.raises(KneeformerError, match=r"^old\.pt: none of its tensors fits .*layer1\.weight"):
        transfer(source, network, "old.pt")
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


def test_what_became_of_the_tensors_is_counted() -> None:
    network = nn.ModuleDict(
        {
            "stem": nn.Conv3d(2, 3, 3),
            "encoder": nn.Linear(3, 4),
            "head": nn.Linear(4, 5),
            "decoder": nn.Linear(4, 2),
        }
    )
    source = {
        "stem.weight": torch.zeros(3, 1, 3, 3, 3),
        "stem.bias": torch.zeros(3),
        "encoder.weight": torch.zeros(4, 3),
        "encoder.bias": torch.zeros(4),
        "head.weight": torch.zeros(6, 4),
        "filler.weight": torch.zeros(1),
    }
    outcome = transfer(source, network, "file")
    assert outcome == Transfer(
        loaded=["stem.bias", "encoder.weight", "encoder.bias"],
        resized=["stem.weight"],
        unused=["filler.weight", "head.weight"],
        new=["head.weight", "head.bias", "decoder.weight", "decoder.bias"],
    )
    assert outcome.describe() == (
        "3 tensors loaded, 1 resized, 2 unused; 4 randomly initialised (decoder, head)"
    )
