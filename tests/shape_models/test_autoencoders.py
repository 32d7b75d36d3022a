"""Trained priors: they begin as the mean, see nothing hidden, learn; their codes by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.autoencoders import Autoencoder, clipped, completion_error
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.shape_models.settings import CodeSettings, PriorSettings
from kneeformer.shape_models.vae import Vae, divergence
from kneeformer.shape_models.vit_prior import VitPrior, equally_many, transformer
from kneeformer.shape_models.vqvae import Codebook, VqVae, k_means, nearest, perplexity, unused

pytestmark = pytest.mark.slow

GRID: Size = (16, 16, 24)
SPACING: Spacing = (2.0, 2.0, 2.0)
SETTINGS = PriorSettings(code=CodeSettings(width=8, latent_channels=4, codes=8, entropy_weight=0.1))
EACH = pytest.mark.parametrize("kind", [Vae, VqVae, VitPrior])
Kind = Callable[[Size, Spacing, PriorSettings], Autoencoder]


def ellipsoid(length: float, breadth: float) -> Tensor:
    """(2, z, y, x): half axes in mm along x, and along y and z; distances near the surface to first order."""
    points = points_from_middle(GRID, SPACING)
    axes = torch.tensor([breadth, breadth, length])
    inner = (points / axes).norm(dim=1)
    slope = (points / axes**2).norm(dim=1) / inner.clamp(min=1e-3)
    distance = ((inner - 1) / slope).view(GRID)
    return torch.stack([0.5 * (distance < 0), distance])


def some_bones() -> Tensor:
    """Six of them, the long ones the narrow ones."""
    return torch.stack([ellipsoid(15 + step, 12 - 0.8 * step) for step in range(6)])


def half_hidden() -> Tensor:
    known = torch.ones(GRID, dtype=torch.bool)
    known[..., 12:] = False
    return known


def fitted(kind: Kind) -> Autoencoder:
    torch.manual_seed(0)
    network = kind(GRID, SPACING, SETTINGS)
    network.fit(some_bones())
    return network


def stirred(kind: Kind) -> Autoencoder:
    """One whose last convolution is no longer zero."""
    network = fitted(kind)
    nn.init.normal_(last_layer(network).weight, std=0.1)
    return network


def last_layer(network: Autoencoder) -> nn.Conv3d:
    """It begins at zero."""
    *_, last = (layer for layer in network.modules() if isinstance(layer, nn.Conv3d))
    assert not last.weight.any()
    return last


def taught(network: Autoencoder, steps: int) -> Autoencoder:
    bones, hidden = some_bones(), half_hidden()
    known = torch.stack([hidden, hidden.flip(2), hidden | True] * 2)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        network.loss(bones, known[torch.randperm(6)]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


def error_mm(found: Tensor, bone: Tensor) -> float:
    """Mean error of the distances near the surface in the hidden half."""
    near = ~half_hidden() & (bone[DISTANCE].abs() < 3)
    return float((found - bone)[DISTANCE, near].abs().mean())


@EACH
def test_it_begins_as_the_mean_bone(kind: Kind) -> None:
    network, bones = fitted(kind), some_bones()
    found = network.complete(bones[0], half_hidden()).image
    assert torch.equal(found, network.mean)
    assert torch.equal(found, clipped(bones).mean(0))


@EACH
def test_nothing_hidden_is_seen(kind: Kind) -> None:
    network, bone, known = stirred(kind), some_bones()[0], half_hidden()
    guess = network.complete(bone, known)
    for garbage in (torch.nan, torch.inf, 1e9):
        again = network.complete(torch.where(known, bone, garbage), known)
        assert torch.equal(again.image, guess.image)
        if guess.deviation_mm is not None:
            assert again.deviation_mm is not None and torch.equal(again.deviation_mm, guess.deviation_mm)
    assert not torch.equal(network.complete(bone + 1, known).image, guess.image)
    assert not torch.equal(network.complete(bone, known | True).image, guess.image)


@EACH
def test_it_learns_shapes_and_completes_a_bone_better_than_the_mean(kind: Kind) -> None:
    network, bones = fitted(kind), some_bones()
    everything = torch.ones(6, *GRID, dtype=torch.bool)
    of_the_mean = float(completion_error(network.mean.expand_as(bones), bones, network.spread_mm))
    taught(network, 80 if kind is VitPrior else 40)
    assert float(network.loss(bones, everything).detach()) < 0.7 * of_the_mean
    for bone in (ellipsoid(15.5, 11.6), ellipsoid(19.5, 8.4)):
        guess = network.complete(bone, half_hidden())
        assert error_mm(guess.image, bone) < 0.8 * error_mm(network.mean, bone)


def test_the_error_by_hand() -> None:
    bones, found = torch.zeros(1, 2, 1, 1, 3), torch.zeros(1, 2, 1, 1, 3)
    bones[0, 0, 0, 0], found[0, 0, 0, 0] = torch.tensor([0.5, 0, 0]), torch.tensor([0.4, 0, 0])
    bones[0, 1, 0, 0], found[0, 1, 0, 0] = torch.tensor([1.0, 15, 45]), torch.tensor([2.0, 14, 22])
    # (CT 0.1, distance 1 mm) at the surface; 1 mm and, beyond 20 mm, 2 mm far from it
    expected = (1.0 * (0.01 + 0.01) + 0.1 * 0.01 + 0.1 * 0.04) / (1 + 0.1 + 0.1)
    assert float(completion_error(found, bones, torch.tensor(10.0))) == pytest.approx(expected)
    assert float(completion_error(found, bones, torch.tensor(1.0))) == pytest.approx(100 * expected)


@EACH
def test_a_state_goes_round(kind: Kind) -> None:
    network = taught(stirred(kind), 2)
    other = kind(GRID, SPACING, SETTINGS).eval()
    other.load_state_dict(network.state_dict())
    bone = some_bones()[1]
    expected, found = network.complete(bone, half_hidden()), other.complete(bone, half_hidden())
    assert torch.equal(found.image, expected.image) and torch.equal(other.noise_mm, network.noise_mm)


@EACH
def test_gradients_are_numbers_in_half_precision_and_reach_every_parameter(kind: Kind) -> None:
    # not GRID: torch's bf16 convolution on a CPU now and then has NaN gradients where its image is 2 voxels
    # thick, whatever is in it (torch 2.13, oneDNN; from 3 voxels on it has none)
    torch.manual_seed(0)
    bones = torch.randn(4, 2, 24, 24, 24)
    network = kind((24, 24, 24), SPACING, SETTINGS)
    network.fit(bones)
    nn.init.normal_(last_layer(network).weight, std=0.1)
    known = torch.rand(4, 24, 24, 24) < 0.7
    known[..., 16:] = False
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network.loss(bones, known)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert loss.dtype == torch.float32
    assert not [n for n, g in gradients.items() if g is None or not g.isfinite().all() or not g.any()]


def test_a_transformer_of_a_code() -> None:
    settings = transformer(CodeSettings(width=16, depth=3))
    assert [stage.channels for stage in settings.stem] == [16, 32, 96]
    assert (settings.token, settings.width, settings.depth, settings.heads) == ((8, 8, 8), 96, 3, 4)
    for width in range(1, 9):  # heads always hold three rotary axes
        assert transformer(CodeSettings(width=width)).width == 6 * width


def test_images_of_a_batch_keep_as_many_tokens_as_the_one_with_the_fewest() -> None:
    torch.manual_seed(0)
    seen = torch.zeros(3, 2, 2, 3, dtype=torch.bool)
    seen[0, 0], seen[1], seen[2, :, 0] = True, True, True
    assert [int(s.sum()) for s in seen] == [6, 12, 6]
    kept = equally_many(seen)
    assert torch.equal(kept[::2], seen[::2])
    assert int(kept[1].sum()) == 6
    assert len({tuple(equally_many(seen)[1].flatten().tolist()) for _ in range(10)}) > 1
    assert torch.equal(equally_many(seen[1:2]), seen[1:2])
    assert int(equally_many(torch.zeros_like(seen)).sum()) == 3


def test_outside_training_no_token_is_lost() -> None:
    network, bones, hidden = stirred(VitPrior).eval(), some_bones()[:2], half_hidden()
    assert isinstance(network, VitPrior)
    known = torch.stack([hidden, hidden | True])
    together, _ = network.autoencoded(bones, known)
    for bone, seen, found in zip(bones, known, together, strict=True):
        assert torch.equal(network.complete(bone, seen).image, found)


def test_the_transformers_encoder_sees_no_token_in_which_nothing_is_known() -> None:
    """Of the twelve tokens it sees those that hold a known voxel."""
    network, bone = stirred(VitPrior), some_bones()[0]
    assert isinstance(network, VitPrior)
    known = torch.zeros(GRID, dtype=torch.bool)
    known[:, :, 7:9] = True  # beside the border of two tokens, of three along x
    seen: list[Tensor] = []
    network.network.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    network.complete(bone, known)
    network.complete(bone, known & (torch.arange(24) < 8))
    assert [tokens.shape[1] for tokens in seen] == [8, 4]


def test_the_divergence_by_hand() -> None:
    zero = torch.zeros(2, 3, 1, 1, 2)
    assert divergence(zero, zero).tolist() == [0, 0]
    # a mean of 2 costs 2 nats a number; a variance of e costs (e - 2) / 2
    assert divergence(zero + 2, zero).tolist() == pytest.approx([12, 12])
    assert divergence(zero, zero + 1).tolist() == pytest.approx([3 * (math.e - 2)] * 2)


def test_the_divergence_counts_by_the_voxel_of_the_volume() -> None:
    network = fitted(Vae)
    encoded = torch.zeros(2, 8, 2, 2, 3)
    encoded[:, :4] = 2
    _, cost = network.coded(encoded)
    assert float(cost) == pytest.approx(SETTINGS.code.kl_weight * 2 * 48 / (16 * 16 * 24))


def test_the_deviation_is_that_of_drawn_codes_and_always_the_same() -> None:
    network, bone = stirred(Vae), some_bones()[0]
    first, torch_state = network.complete(bone, half_hidden()).deviation_mm, torch.get_rng_state()
    second = network.complete(bone, half_hidden()).deviation_mm
    assert first is not None and second is not None and first.shape == GRID and (first > 0).all()
    assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), torch_state)
    nn.init.zeros_(network.encoder.head.weight)
    network.encoder.head.bias = nn.Parameter(torch.full((8,), -12.0))
    sure = network.complete(bone, half_hidden()).deviation_mm
    assert sure is not None and sure.mean() < 0.02 * first.mean()


def test_the_codebook_follows_its_vectors_by_hand() -> None:
    book = Codebook(2, 1)
    book.start(torch.tensor([[0.0], [10.0]]))
    low, high = int(book.codes.argmin()), int(book.codes.argmax())
    book.follow(torch.tensor([[1.0], [2.0], [3.0], [9.0]]))
    # counts: 0.99 * 1 + 0.01 * 3 and 0.99 * 1 + 0.01 * 1; sums: 0.01 * 6 and 0.99 * 10 + 0.01 * 9
    assert book.counts[torch.tensor([low, high])].tolist() == pytest.approx([1.02, 1.0])
    assert book.codes[torch.tensor([low, high]), 0].tolist() == pytest.approx([0.06 / 1.02, 9.99])
    assert float(book.perplexity) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_a_dead_code_starts_anew_at_a_vector_of_the_step() -> None:
    torch.manual_seed(0)
    book = Codebook(3, 2)
    book.start(torch.tensor([[0.0, 0], [1, 1], [50, 50]]))
    lonely = int(book.codes[:, 0].argmax())
    vectors = torch.rand(20, 2)
    for _ in range(math.floor(math.log(0.5) / math.log(0.99))):
        book.follow(vectors)
    assert book.codes[lonely].tolist() == pytest.approx([50, 50], rel=1e-4)
    book.follow(vectors)
    assert (book.codes[lonely] == vectors).all(1).any() and (book.codes <= 1).all()


def test_codes_replace_vectors_half_at_first_and_wholly_later() -> None:
    book = Codebook(1, 1)
    book.start(torch.ones(1, 1))
    assert float(book(torch.tensor([[3.0]]))) == 2
    for _ in range(250):
        book.follow(torch.ones(4, 1))
    assert float(book.share) == 1 and float(book(torch.tensor([[3.0]]))) == pytest.approx(1)


def test_gradients_pass_the_codebook_as_if_it_were_not_there() -> None:
    book = Codebook(4, 3)
    book.start(torch.randn(20, 3))
    vectors, pull = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    (book(vectors) * pull).sum().backward()
    assert vectors.grad is not None and torch.equal(vectors.grad, pull)


def test_the_codebook_stands_still_outside_training() -> None:
    network = fitted(VqVae).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.loss(some_bones(), torch.ones(6, *GRID, dtype=torch.bool))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("distinct", [8, 9, 40, 200])
def test_k_means_uses_every_code(distinct: int) -> None:
    torch.manual_seed(distinct)
    vectors = torch.randn(distinct, 3).repeat(3, 1) ** 3
    codes = k_means(vectors, 8)
    assert len({*nearest(vectors, codes).tolist()}) == 8
    assert torch.equal(codes, k_means(vectors, 8))


def test_k_means_finds_clusters() -> None:
    middles = torch.tensor([[0.0, 0], [10, 0], [0, 10], [-10, -10]])
    torch.manual_seed(0)
    vectors = (middles[:, None] + 0.1 * torch.randn(4, 50, 2)).flatten(0, 1)
    assert torch.cdist(middles, k_means(vectors, 4)).min(1).values.max() < 0.1


def test_k_means_of_fewer_vectors_than_codes_has_them_all() -> None:
    vectors = torch.tensor([[0.0], [3.0]])
    assert {*k_means(vectors, 5)[:, 0].tolist()} == {0, 3}


def test_perplexity_and_uneven_use_by_hand() -> None:
    assert float(perplexity(torch.full((8,), 1 / 8))) == pytest.approx(8)
    assert float(perplexity(torch.tensor([1.0, 0, 0]))) == 1
    codes = torch.tensor([[-30.0], [30.0]])
    assert float(unused(codes, codes)) == pytest.approx(0, abs=1e-6)
    assert float(unused(codes[:1].repeat(4, 1), codes)) == pytest.approx(math.log(2))
