"""Decoders: every token's voxels in their place."""

import pytest
import torch
from torch import nn

from kneeformer.config import NetworkSettings, StemStage
from kneeformer.geometry.aliases import Size
from kneeformer.networks.decoders import CnnDecoder, LinearDecoder, build_decoder
from kneeformer.networks.visible import VisibleTokens


def settings(*strides: Size, decoder: str = "cnn") -> NetworkSettings:
    channels = [4 * (i + 1) for i in range(len(strides) - 1)] + [12]
    return NetworkSettings.model_validate(
        {
            "stem": [
                StemStage(channels=c, stride=s, kernel=(3, 3, 3))
                for c, s in zip(channels, strides, strict=True)
            ],
            "width": 12,
            "depth": 1,
            "heads": 1,
            "decoder": decoder,
        }
    )


def features(network: NetworkSettings, grid: Size) -> list[torch.Tensor]:
    """Random features of each stage of the stem, of a volume of `grid` tokens."""
    size = [n * t for n, t in zip(grid, network.token, strict=True)]
    found = []
    for stage in network.stem:
        size = [n // s for n, s in zip(size, stage.stride, strict=True)]
        found.append(torch.randn(2, stage.channels, *size))
    return found


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
@pytest.mark.parametrize("grid", [(1, 1, 2), (3, 5, 1), (1, 3, 7)])
@pytest.mark.parametrize(
    "strides",
    [
        ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        ((1, 2, 2), (2, 2, 4)),
        ((1, 1, 1), (1, 1, 1)),
        ((2, 4, 1),),
    ],
)
def test_the_output_has_the_size_of_the_input(strides: tuple[Size, ...], grid: Size, decoder: str) -> None:
    network = settings(*strides, decoder=decoder)
    output = build_decoder(network, outputs=3)(features(network, grid))
    assert output.shape == (2, 3, *[n * t for n, t in zip(grid, network.token, strict=True)])


def test_the_plan_names_the_decoder() -> None:
    stem = ((1, 1, 1), (2, 2, 2))
    assert isinstance(build_decoder(settings(*stem), 2), CnnDecoder)
    assert isinstance(build_decoder(settings(*stem, decoder="linear"), 2), LinearDecoder)


def test_the_linear_decoder_puts_each_token_in_its_own_block() -> None:
    network = settings((1, 1, 2), (2, 4, 2), decoder="linear")
    decoder, grid = build_decoder(network, 2), (3, 2, 5)
    given = features(network, grid)
    before = decoder(given)
    for z, y, x in ((0, 0, 0), (1, 1, 3), (2, 0, 4)):
        touched = [f.clone() for f in given]
        touched[-1][0, :, z, y, x] += 1
        changed = (decoder(touched) != before).any(1)
        block = torch.zeros_like(changed)
        block[0, z * 2 : z * 2 + 2, y * 4 : y * 4 + 4, x * 4 : x * 4 + 4] = True
        assert torch.equal(changed, block)


def test_equal_tokens_give_equal_blocks() -> None:
    network = settings((1, 1, 2), (2, 4, 2), decoder="linear")
    output = build_decoder(network, 2)([torch.ones(1, 12, 3, 2, 5)])
    blocks = output.unfold(2, 2, 2).unfold(3, 4, 4).unfold(4, 4, 4)
    assert torch.allclose(blocks, blocks[:, :, :1, :1, :1].expand_as(blocks))


def test_skips_are_added_at_their_own_scale() -> None:
    network = settings((1, 1, 1), (1, 2, 2), (2, 2, 2))
    decoder = build_decoder(network, 1).eval()
    given = features(network, (2, 2, 2))
    before = decoder(given)
    for stage in range(3):
        touched = [f.clone() for f in given]
        touched[stage] += torch.randn_like(touched[stage])
        assert not torch.allclose(decoder(touched), before)


def test_a_skip_is_a_plain_sum() -> None:
    network = settings((1, 1, 1), (2, 2, 2))
    decoder = build_decoder(network, 1)
    assert isinstance(decoder, CnnDecoder)
    fine, coarse = features(network, (1, 2, 1))
    decoder.blocks[0], decoder.head = nn.Identity(), nn.Identity()
    assert torch.allclose(decoder([fine, coarse]), fine + decoder.expand[0](coarse), atol=1e-6)


@pytest.mark.parametrize("decoder", ["cnn", "linear"])
def test_features_of_visible_tokens_are_as_zeros_elsewhere(decoder: str) -> None:
    network = settings((1, 1, 1), (1, 2, 2), (2, 2, 2), decoder=decoder)
    *stages, grid = features(network, (1, 2, 3))
    tokens = VisibleTokens(torch.tensor([[[[True, False, False], [False, True, True]]]] * 2))
    given = [tokens.voxels(stage) for stage in stages]
    model = build_decoder(network, 2)
    dense = model([*map(tokens.dense, given), grid])
    assert torch.allclose(model([*given, grid], tokens), dense, rtol=0, atol=1e-5)
