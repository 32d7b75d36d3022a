"""The whole network: shapes, positions, gradients, and one set of weights for any size of volume."""

import math

import pytest
import torch
from torch import Tensor, nn

from kneeformer.config import NetworkSettings, StemStage
from kneeformer.geometry.aliases import Size
from kneeformer.networks.compute import to_device
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.positions import points_in_patient
from kneeformer.networks.vit import Encoder, HybridTransformer, Stem

KNEE = (
    StemStage(channels=4, stride=(1, 1, 1), kernel=(1, 3, 3)),
    StemStage(channels=8, stride=(1, 2, 2), kernel=(3, 3, 3)),
    StemStage(channels=24, stride=(2, 2, 2), kernel=(3, 3, 3)),
)


def settings(stem: tuple[StemStage, ...] = KNEE, decoder: str = "cnn") -> NetworkSettings:
    return NetworkSettings.model_validate(
        {"stem": stem, "width": 24, "depth": 2, "heads": 2, "drop_path": 0, "decoder": decoder}
    )


def network(decoder: str = "cnn", channels: int = 1, outputs: int = 3) -> HybridTransformer:
    torch.manual_seed(0)
    plan = settings(decoder=decoder)
    return HybridTransformer(channels, plan, build_decoder(plan, outputs))


def run(model: HybridTransformer, image: Tensor) -> Tensor:
    """The network's output for images that are whole volumes."""
    output: Tensor = model(image, torch.eye(3, 4).repeat(len(image), 1, 1))
    return output


@pytest.mark.parametrize(
    ("strides", "sizes"),
    [
        ([(1, 1, 1), (1, 2, 2), (2, 2, 2)], [(4, 24, 16), (4, 12, 8), (2, 6, 4)]),
        ([(1, 2, 4), (2, 1, 2)], [(4, 12, 4), (2, 12, 2)]),
        ([(2, 2, 2), (1, 3, 1)], [(2, 12, 8), (2, 4, 8)]),
    ],
)
def test_the_stem_divides_each_axis_by_its_own_strides(strides: list[Size], sizes: list[Size]) -> None:
    stages = [StemStage(channels=4 + i, stride=s, kernel=(3, 3, 3)) for i, s in enumerate(strides)]
    features = Stem(2, stages)(torch.randn(1, 2, 4, 24, 16))
    assert [tuple(f.shape) for f in features] == [(1, 4 + i, *size) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
@pytest.mark.parametrize("grid", [(1, 1, 2), (3, 1, 5), (1, 7, 3)])
def test_the_output_has_the_size_of_the_input(grid: Size, decoder: str) -> None:
    size = [n * t for n, t in zip(grid, (2, 4, 4), strict=True)]
    assert run(network(decoder, channels=2), torch.randn(2, 2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
def test_a_gradient_reaches_every_parameter(decoder: str) -> None:
    model = network(decoder).train()
    run(model, torch.randn(2, 1, 4, 16, 12)).square().sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
def test_every_voxel_reaches_every_output_through_attention(decoder: str) -> None:
    model = network(decoder).eval()
    image = torch.randn(1, 1, 4, 16, 12, requires_grad=True)
    run(model, image)[0, :, 0, 0, 0].sum().backward()
    assert image.grad is not None and (image.grad != 0).float().mean() > 0.9


def test_samples_of_a_batch_do_not_touch() -> None:
    model = network().eval()
    images = torch.randn(3, 1, 4, 16, 12)
    assert torch.allclose(run(model, images)[1:2], run(model, images[1:2]), atol=1e-5)


def test_one_set_of_weights_takes_crops_and_larger_volumes() -> None:
    model = network().eval()
    weights = {name: tuple(w.shape) for name, w in model.state_dict().items()}
    for size in ((2, 4, 8), (4, 16, 12), (8, 32, 20)):
        assert run(model, torch.randn(1, 1, *size)).shape == (1, 3, *size)
    assert {name: tuple(w.shape) for name, w in model.state_dict().items()} == weights


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
def test_a_volume_of_one_token(decoder: str) -> None:
    assert run(network(decoder), torch.randn(1, 1, 2, 4, 4)).shape == (1, 3, 2, 4, 4)


def test_a_crop_gives_its_tokens_the_positions_they_have_in_the_whole() -> None:
    # The encoder on part of a volume's tokens, at their positions in the whole, equals itself on a crop there
    torch.manual_seed(0)
    encoder = Encoder(settings()).eval()
    tokens = torch.randn(1, 2 * 3, 24)
    whole = torch.stack(
        torch.meshgrid(
            *[(torch.arange(n) + 0.5 - n / 2) * mm for n, mm in ((2, 6), (3, 2), (4, 2))], indexing="ij"
        ),
        -1,
    )
    part = whole[:, :, 1:2].reshape(1, -1, 3)  # a crop of 2 x 3 x 1 tokens, its centre 1 mm before the middle
    crop_centre = torch.tensor([0.0, 0.0, -1.0])
    own = torch.stack(
        torch.meshgrid(
            *[(torch.arange(n) + 0.5 - n / 2) * mm for n, mm in ((2, 6), (3, 2), (1, 2))], indexing="ij"
        ),
        -1,
    ).reshape(1, -1, 3)
    assert torch.allclose(own + crop_centre, part)
    assert torch.allclose(encoder(tokens, part), encoder(tokens, own + crop_centre), atol=1e-6)


def test_tokens_of_a_strip_attend_to_each_other_alone() -> None:
    """Five rows of tokens in strips of three at most: three and two, each encoded by itself."""

    class Tokens(nn.Module):
        def forward(self, features: list[Tensor]) -> Tensor:
            return features[-1]

    torch.manual_seed(0)
    model = HybridTransformer(1, settings(), Tokens(), strip=3).eval()
    image, place = torch.randn(1, 1, 4, 20, 16), torch.eye(3, 4)[None]
    tokens = model.stem(image)[-1]
    points = points_in_patient((2, 5, 4), model.token, place).view(1, 2, 5, 4, 3)
    for rows in (slice(0, 3), slice(3, 5)):
        strip = tokens[:, :, :, rows].flatten(2).transpose(1, 2)
        alone = model.encoder(strip, points[:, :, rows].flatten(1, 3))
        found = model(image, place)[:, :, :, rows].flatten(2).transpose(1, 2)
        torch.testing.assert_close(found, alone)


def test_any_subset_of_tokens_may_be_encoded() -> None:
    torch.manual_seed(0)
    encoder = Encoder(settings()).eval()
    tokens, positions = torch.randn(2, 10, 24), 40 * torch.rand(2, 10, 3)
    kept = torch.tensor([7, 1, 4])
    encoded = encoder(tokens[:, kept], positions[:, kept])
    order = torch.tensor([1, 2, 0])
    assert encoded.shape == (2, 3, 24)
    again = encoder(tokens[:, kept[order]], positions[:, kept[order]])
    assert torch.allclose(again, encoded[:, order], atol=1e-5)


def test_stochastic_depth_grows_from_none_to_the_plans() -> None:
    plan = settings().model_copy(update={"drop_path": 0.2, "depth": 3})
    assert [block.drop_path for block in Encoder(plan).blocks] == pytest.approx([0, 0.1, 0.2])


def test_memory_layout_changes_no_value() -> None:
    image = torch.randn(1, 1, 4, 16, 12)
    plain, placed = network().eval(), to_device(network().eval(), torch.device("cpu"))
    assert torch.allclose(run(plain, image), run(placed, image), atol=1e-5)
    convolutions = [p for p in placed.parameters() if p.ndim == 5 and math.prod(p.shape[2:]) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last_3d) for p in convolutions)


def test_same_seed_same_network() -> None:
    first, second = network().state_dict(), network().state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
