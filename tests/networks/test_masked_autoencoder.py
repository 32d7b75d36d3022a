"""The masked autoencoder: what is hidden is hidden, and all but the filler is the segmentation network."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from kneeformer.config import MaskingSettings, NetworkSettings
from kneeformer.geometry.aliases import Size
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder, TokenFiller
from kneeformer.networks.positions import points_from_middle
from kneeformer.networks.visible import VisibleTokens
from kneeformer.networks.vit import HybridTransformer

STEMS = {
    (2, 4, 4): [((1, 1, 1), (1, 3, 3)), ((1, 2, 2), (3, 3, 3)), ((2, 2, 2), (3, 3, 3))],
    (3, 5, 1): [((1, 1, 1), (1, 3, 3)), ((3, 1, 1), (3, 3, 5)), ((1, 5, 1), (3, 5, 3))],
    (1, 3, 3): [((1, 3, 3), (1, 5, 5)), ((1, 1, 1), (3, 1, 1))],
}
LAYOUTS = [(token, grid) for token in STEMS for grid in ((2, 3, 4), (3, 1, 2))]
DECODERS = ("cnn", "linear")
SPACING = (3.0, 0.5, 0.6)


def settings(token: Size = (2, 4, 4), decoder: str = "cnn") -> NetworkSettings:
    widths = [*range(3, 2 + len(STEMS[token])), 12]
    stem = [{"channels": c, "stride": s, "kernel": k} for c, (s, k) in zip(widths, STEMS[token], strict=True)]
    return NetworkSettings.model_validate(
        {"stem": stem, "width": 12, "depth": 2, "heads": 2, "drop_path": 0, "decoder": decoder}
    )


def autoencoder(token: Size = (2, 4, 4), decoder: str = "cnn", channels: int = 2) -> MaskedAutoencoder:
    """In double precision: a gradient is zero only where there is none."""
    torch.manual_seed(0)
    plan = settings(token, decoder)
    return around(build_decoder(plan, channels), plan, channels)


def around(decoder: nn.Module, plan: NetworkSettings, channels: int = 2) -> MaskedAutoencoder:
    masking = MaskingSettings(filler_width=12, filler_depth=1)
    return MaskedAutoencoder(channels, plan, masking, decoder).double().eval()


def some_visible(grid: Size, batch: int = 2, share: float = 0.4) -> Tensor:
    """(batch, *grid) bool by chance, equally many in each image."""
    count = math.prod(grid)
    order = torch.rand(batch, count, generator=torch.Generator().manual_seed(0)).argsort(1)
    return (order < max(1, round(share * count))).view(batch, *grid)


def images(token: Size, grid: Size, channels: int = 2) -> Tensor:
    size = [t * g for t, g in zip(token, grid, strict=True)]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)


def seen_voxels(visible: Tensor, image: Tensor) -> Tensor:
    """Which voxels of the image belong to visible tokens; of the image's shape."""
    flags = visible[:, None]
    for axis in (2, 3, 4):
        flags = flags.repeat_interleave(image.shape[axis] // flags.shape[axis], axis)
    return flags.expand_as(image)


def run(model: MaskedAutoencoder, image: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted voxels, and what the encoder gave on the way to them."""
    caught: list[Tensor] = []
    handle = model.encoder.register_forward_hook(lambda _, __, output: caught.append(output))
    predicted: Tensor = model(image, torch.eye(3, 4).repeat(len(image), 1, 1), visible)
    handle.remove()
    return predicted, caught[0]


def random_like(tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(tensor.shape, dtype=tensor.dtype, generator=generator)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
def test_the_encoder_has_a_gradient_at_visible_voxels_and_at_no_other(
    token: Size, grid: Size, decoder: str
) -> None:
    image, visible = images(token, grid).requires_grad_(), some_visible(grid)
    _, encoded = run(autoencoder(token, decoder), image, visible)
    assert encoded.shape == (2, int(visible[0].sum()), 12)
    (encoded * random_like(encoded)).sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad != 0, seen_voxels(visible, image))


@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
def test_so_has_each_of_its_tokens_and_none_in_another_image(token: Size, grid: Size) -> None:
    image, visible = images(token, grid).requires_grad_(), some_visible(grid)
    _, encoded = run(autoencoder(token), image, visible)
    seen = seen_voxels(visible, image)
    for number, tokens in enumerate(encoded):
        expected = seen.clone()
        expected[1 - number] = False
        for features in tokens:
            projected = (features * random_like(features)).sum()
            (gradient,) = torch.autograd.grad(projected, image, retain_graph=True)
            assert torch.equal(gradient != 0, expected)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
def test_predicted_voxels_have_a_gradient_at_visible_ones_alone(
    token: Size, grid: Size, decoder: str
) -> None:
    image, visible = images(token, grid).requires_grad_(), some_visible(grid)
    predicted, _ = run(autoencoder(token, decoder), image, visible)
    (predicted * random_like(predicted)).sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad != 0, seen_voxels(visible, image))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_hidden_voxels_change_no_bit_of_the_output(
    token: Size, grid: Size, value: float, decoder: str
) -> None:
    image, visible, model = images(token, grid), some_visible(grid), autoencoder(token, decoder)
    other = torch.where(seen_voxels(visible, image), image, value)
    assert not torch.equal(other, image)
    for before, after in zip(run(model, image, visible), run(model, other, visible), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
def test_nor_of_any_gradient_of_the_weights(token: Size, grid: Size, decoder: str) -> None:
    image, visible = images(token, grid), some_visible(grid)
    gradients = []
    for given in (image, torch.where(seen_voxels(visible, image), image, float("nan"))):
        model = autoencoder(token, decoder).train()
        predicted, _ = run(model, given, visible)
        (predicted * random_like(predicted)).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(a is not None and torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_output_has_the_shape_of_the_image(token: Size, grid: Size, channels: int, decoder: str) -> None:
    image = images(token, grid, channels)
    predicted, _ = run(autoencoder(token, decoder, channels), image, some_visible(grid))
    assert predicted.shape == image.shape


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("share", [0.01, 0.99])
def test_one_visible_token_or_one_hidden(share: float, decoder: str) -> None:
    image, visible = images((2, 4, 4), (2, 3, 4)), some_visible((2, 3, 4), share=share)
    assert visible[0].sum() in (1, 24)
    predicted, _ = run(autoencoder(decoder=decoder), image, visible)
    assert predicted.shape == image.shape and predicted.isfinite().all()


class Given(nn.Module):
    """A decoder that keeps what it is given, and gives the tokens as they are."""

    def forward(self, features: list[Tensor], tokens: VisibleTokens) -> Tensor:
        self.features, self.tokens = features, tokens
        return features[-1]


@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
def test_encoded_tokens_come_to_the_decoder_where_they_lie(token: Size, grid: Size) -> None:
    visible = some_visible(grid)
    everything, encoded = run(around(Given(), settings(token)), images(token, grid), visible)
    assert everything.shape == (2, 12, *grid)
    for number, flags in enumerate(visible):
        places = [p for p in itertools.product(*map(range, grid)) if flags[p]]
        found = torch.stack([everything[number, :, z, y, x] for z, y, x in places])
        assert torch.equal(found, encoded[number])


@pytest.mark.parametrize(("token", "grid"), LAYOUTS)
def test_the_stems_features_come_with_the_tokens_that_they_are_of(token: Size, grid: Size) -> None:
    image, visible, decoder = images(token, grid), some_visible(grid), Given()
    model = around(decoder, settings(token))
    run(model, image, visible)
    assert torch.equal(decoder.tokens.visible, visible)
    expected = model.stem(image, VisibleTokens(visible))
    assert len(decoder.features) == len(expected) > 1
    for given, stage in zip(decoder.features[:-1], expected[:-1], strict=True):
        assert torch.equal(given, stage)


@pytest.mark.parametrize("width", [6, 12, 18, 24, 96])
def test_the_filler_leaves_visible_tokens_alone_and_fills_in_every_hidden_one(width: int) -> None:
    visible = some_visible((2, 3, 4))
    tokens = VisibleTokens(visible)
    encoded = torch.randn(2, tokens.index.shape[1], 12)
    torch.manual_seed(0)
    filler = TokenFiller(settings(), MaskingSettings(filler_width=width, filler_depth=2)).eval()
    positions = points_from_middle((2, 3, 4), (6.0, 2.0, 2.4)).expand(2, -1, -1)
    filled = filler(encoded, positions, tokens)
    flags = visible.flatten(1)
    assert filled.shape == (2, 24, 12)
    assert torch.equal(filled[flags], encoded.flatten(0, 1))
    hidden = filled[~flags]
    assert len(hidden.unique(dim=0)) == len(hidden), "each has a place of its own"
    again = filler(encoded + 1, positions, tokens)
    assert ((again[~flags] - hidden).abs().amax(1) > 1e-6).all(), "each is found from the visible ones"


def test_hidden_tokens_start_from_one_vector() -> None:
    # Without blocks, and where all tokens lie in one place, nothing tells one hidden token from another.
    visible = some_visible((2, 3, 4))
    filler = TokenFiller(settings(), MaskingSettings(filler_width=12, filler_depth=1)).eval()
    filler.blocks = nn.ModuleList()
    tokens = VisibleTokens(visible)
    filled = filler(torch.randn(2, tokens.index.shape[1], 12), torch.zeros(2, 24, 3), tokens)
    assert len(filled[~visible.flatten(1)].unique(dim=0)) == 1


@pytest.mark.parametrize("token", STEMS)
def test_the_encoder_is_told_where_each_visible_token_lies(token: Size) -> None:
    visible = torch.zeros(2, 2, 3, 4, dtype=torch.bool)
    for place in ((0, 0, 1, 0), (0, 1, 2, 3), (1, 0, 0, 1), (1, 1, 0, 2)):
        visible[place] = True
    told: list[Tensor] = []
    model = autoencoder(token)
    model.encoder.register_forward_pre_hook(lambda _, given: told.append(given[1]))
    to_patient = torch.diag(torch.tensor([*SPACING, 1]))[:3].repeat(2, 1, 1)
    to_patient[1, :, 3] = torch.tensor([10.0, 20, 30])
    model(images(token, (2, 3, 4)), to_patient, visible)
    # in tokens from the middle of the grid
    offsets = torch.tensor([[[-0.5, 0, -1.5], [0.5, 1, 1.5]], [[-0.5, -1, -0.5], [0.5, -1, 0.5]]])
    expected = offsets * torch.tensor([t * mm for t, mm in zip(token, SPACING, strict=True)])
    expected[1] += torch.tensor([10.0, 20, 30])
    assert torch.allclose(told[0].float(), expected, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("token", STEMS)
def test_with_everything_visible_it_is_the_segmentation_network(token: Size, decoder: str) -> None:
    image, model, plan = images(token, (2, 3, 4)), autoencoder(token, decoder), settings(token, decoder)
    hybrid = HybridTransformer(2, plan, build_decoder(plan, 2)).double().eval()
    whole = {n: w for n, w in model.state_dict().items() if not n.startswith("filler.")}
    hybrid.load_state_dict(whole)
    predicted, _ = run(model, image, torch.ones(2, 2, 3, 4, dtype=torch.bool))
    assert torch.allclose(predicted, hybrid(image, torch.eye(3, 4).repeat(2, 1, 1)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("token", STEMS)
def test_all_but_the_filler_is_named_and_shaped_as_in_the_segmentation_network(
    token: Size, decoder: str
) -> None:
    plan = settings(token, decoder)
    hybrid = HybridTransformer(2, plan, build_decoder(plan, 2))
    shapes = [
        {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        for model in (hybrid, autoencoder(token, decoder))
    ]
    parts = {name.split(".")[0] for name in shapes[0]}
    assert parts == {"stem", "encoder", "decoder"} and len(shapes[0]) > 20
    assert shapes[0] == {n: s for n, s in shapes[1].items() if n.split(".")[0] in parts}
    assert {name.split(".")[0] for name in shapes[1]} - parts == {"filler"}


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_gradient_reaches_every_parameter(decoder: str) -> None:
    model = autoencoder(decoder=decoder).train()
    predicted, _ = run(model, images((2, 4, 4), (2, 3, 4)), some_visible((2, 3, 4)))
    (predicted * random_like(predicted)).sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("decoder", DECODERS)
def test_images_of_a_batch_do_not_touch(decoder: str) -> None:
    image, visible = images((3, 5, 1), (2, 3, 4)), some_visible((2, 3, 4))
    model = autoencoder((3, 5, 1), decoder)
    whole, _ = run(model, image, visible)
    alone, _ = run(model, image[1:], visible[1:])
    assert torch.allclose(whole[1:], alone, rtol=0, atol=1e-9)
