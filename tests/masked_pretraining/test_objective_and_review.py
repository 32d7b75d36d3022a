"""Which hidden voxels count, what their error is, and how it is scored."""

import math

import pytest
import torch
from torch import Tensor, nn

from kneeformer.engine.batch import Batch
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.engine.masked_voxels import (
    MaskedVoxelObjective,
    by_token,
    hidden_ssim,
    hidden_voxels,
    intensity_range,
    psnr,
    spread,
)
from kneeformer.geometry.aliases import Size
from kneeformer.networks.blocks import Expand
from kneeformer.networks.ssim import ssim
from kneeformer.tasks.masked_pretraining.review import error_table

LAYOUTS = [((2, 3, 4), (3, 5, 1)), ((4, 1, 2), (1, 2, 3)), ((3, 2, 2), (2, 4, 4))]  # grid, voxels of a token


class Given(nn.Module):
    """A network whose prediction is known beforehand."""

    def __init__(self, predicted: Tensor) -> None:
        super().__init__()
        self.predicted = nn.Parameter(predicted)

    def forward(self, image: Tensor, to_patient: Tensor, visible: Tensor) -> Tensor:
        return self.predicted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(grid: Size, token: Size, batch: int = 2, channels: int = 3) -> Tensor:
    """Every voxel's number."""
    size = [g * t for g, t in zip(grid, token, strict=True)]
    return torch.arange(float(batch * channels * math.prod(size))).view(batch, channels, *size)


def noise(grid: Size = (3, 2, 2), token: Size = (2, 4, 4), channels: int = 2, seed: int = 0) -> Tensor:
    """Two images without air: tissue is bright everywhere."""
    size = [g * t for g, t in zip(grid, token, strict=True)]
    return 5 + torch.rand(2, channels, *size, generator=generator(seed))


def batch_of(image: Tensor, grid: Size = (3, 2, 2), hidden: float = 0.5) -> Batch:
    """The image with nothing outside, and tokens hidden by chance."""
    count = math.prod(grid)
    order = torch.rand(len(image), count, generator=generator(1)).argsort(1)
    return {
        "image": image,
        "labels": torch.zeros(len(image), *image.shape[2:], dtype=torch.int16),
        "to_patient": torch.eye(3, 4).repeat(len(image), 1, 1),
        "visible": (order >= round(hidden * count)).view(-1, *grid),
    }


def loss(predicted: Tensor, batch: Batch, normalised: bool = False, with_ssim: bool = False) -> float:
    with torch.no_grad():
        return MaskedVoxelObjective(normalised, with_ssim).validate(Given(predicted), [batch]).loss


# Volumes and their tokens


@pytest.mark.parametrize(("grid", "token"), LAYOUTS)
def test_the_voxels_of_a_token_are_those_of_its_block(grid: Size, token: Size) -> None:
    volume = ramp(grid, token)
    tokens = by_token(volume, grid)
    assert tokens.shape == (2, 3, *grid, math.prod(token))
    for place in ((0, 0, 0), (1, 0, 1), (grid[0] - 1, grid[1] - 1, grid[2] - 1)):
        z, y, x = (slice(p * t, p * t + t) for p, t in zip(place, token, strict=True))
        assert torch.equal(tokens[(slice(None), slice(None), *place)], volume[:, :, z, y, x].flatten(2))


@pytest.mark.parametrize(("grid", "token"), LAYOUTS)
def test_values_spread_over_a_volume_are_found_in_its_tokens_again(grid: Size, token: Size) -> None:
    values = torch.rand(2, 3, *grid, generator=generator())
    volume = spread(values, ramp(grid, token))
    assert volume.shape == ramp(grid, token).shape
    assert torch.equal(by_token(volume, grid), values[..., None].expand(-1, -1, -1, -1, -1, math.prod(token)))


@pytest.mark.parametrize(("grid", "token"), LAYOUTS)
def test_flags_of_tokens_spread_to_one_channel(grid: Size, token: Size) -> None:
    flags = torch.rand(2, *grid, generator=generator()) < 0.5
    volume = spread(flags, ramp(grid, token))
    assert volume.shape == (2, 1, *ramp(grid, token).shape[2:]) and volume.dtype == torch.bool
    assert torch.equal(by_token(volume, grid).all(-1)[:, 0], flags)
    assert torch.equal(by_token(volume, grid).any(-1)[:, 0], flags)


@pytest.mark.parametrize(("grid", "token"), LAYOUTS)
def test_expanding_the_voxels_of_tokens_gives_the_volume_back(grid: Size, token: Size) -> None:
    volume, count = ramp(grid, token, channels=1), math.prod(token)
    expand = Expand(count, 1, token)
    expand.linear.weight.data, expand.linear.bias.data = torch.eye(count), torch.zeros(count)
    assert torch.equal(expand(by_token(volume, grid)[:, 0].permute(0, 4, 1, 2, 3)), volume)


# What counts


def tokens_of(hidden: Tensor, grid: Size = (3, 2, 2)) -> Tensor:
    """Hidden tokens of which a voxel counts."""
    return by_token(hidden, grid).any(-1)[:, 0]


def test_all_of_a_hidden_token_counts_and_nothing_of_a_visible_one() -> None:
    batch = batch_of(noise())
    hidden = hidden_voxels(batch)
    assert torch.equal(tokens_of(hidden), ~batch["visible"])
    assert hidden.shape == (2, 1, 6, 8, 8)
    assert torch.equal(by_token(hidden, (3, 2, 2))[:, 0].all(-1), ~batch["visible"])
    assert torch.equal(by_token(hidden, (3, 2, 2))[:, 0].any(-1), ~batch["visible"])


def test_tokens_of_air_do_not_count() -> None:
    # tokens of 32 voxels: one bright voxel is less than a twentieth, two are not
    image = torch.zeros(1, 1, 6, 8, 8)
    image[:, :, 2:] = 1
    image[0, 0, 0, 0, 0] = 1  # in token (0, 0, 0)
    image[0, 0, 0, :2, 5] = 1  # two in token (0, 0, 1)
    batch = {**batch_of(image), "visible": torch.zeros(1, 3, 2, 2, dtype=torch.bool)}
    batch["visible"][0, 2] = True
    hidden = hidden_voxels(batch)
    assert tokens_of(hidden)[0].int().tolist() == [[[0, 1], [0, 0]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]]
    assert int(hidden.sum()) == 5 * 32


def test_air_is_what_is_dark_in_every_channel() -> None:
    image = torch.zeros(1, 2, 6, 8, 8)
    image[:, 0, :2] = 1
    image[:, 1, 2:4] = -0.5
    image[:, 1, 4:] = -5
    hidden = hidden_voxels({**batch_of(image), "visible": torch.zeros(1, 3, 2, 2, dtype=torch.bool)})
    assert tokens_of(hidden)[0].flatten(1).all(1).tolist() == [True, True, False]


@pytest.mark.parametrize(("darkest", "counts"), [(0.09, False), (0.11, True)])
def test_air_is_the_darkest_tenth_of_the_range_of_the_crop(darkest: float, counts: bool) -> None:
    image = torch.full((1, 1, 6, 8, 8), 1.0)
    image[:, :, :2] = darkest
    image[:, :, 2:4] = 0
    batch = {**batch_of(100 * image - 40), "visible": torch.zeros(1, 3, 2, 2, dtype=torch.bool)}
    assert tokens_of(hidden_voxels(batch))[0].flatten(1).all(1).tolist() == [counts, False, True]


def test_what_lies_outside_the_volume_does_not_count() -> None:
    batch = batch_of(noise(), hidden=0.999)
    batch["visible"][:] = False
    batch["labels"][:, 3:] = IGNORE_INDEX  # one and a half layers of tokens
    hidden = hidden_voxels(batch)
    assert tokens_of(hidden).flatten(2).all(2).tolist() == [[True, True, False]] * 2
    assert not tokens_of(hidden)[:, 2].any()
    assert torch.equal(hidden, (batch["labels"] == 0)[:, None])


# The error


def test_squared_error_by_hand() -> None:
    batch = batch_of(noise())
    assert loss(batch["image"] + 3, batch) == pytest.approx(9, rel=1e-4)
    assert loss(batch["image"], batch) == 0


def test_squared_error_counts_each_hidden_voxel_and_channel_once() -> None:
    batch = batch_of(noise(), hidden=0.25)  # 3 of 12 tokens of 32 voxels, 2 images, 2 channels
    predicted = batch["image"].clone()
    z, y, x = hidden_voxels(batch)[1, 0].nonzero()[5].tolist()
    predicted[1, 1, z, y, x] += 8
    assert loss(predicted, batch) == pytest.approx(64 / (3 * 32 * 2 * 2), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_normalised_error_is_that_of_voxels_normalised_by_token(seed: int) -> None:
    # A prediction in units of its token, told in those of the image: error / (variance + 1 % of the image's)
    image, grid = noise(seed=seed), (3, 2, 2)
    image = image * torch.linspace(0.5, 2, 8)  # tokens differ in contrast
    batch = batch_of(image)
    tokens = by_token(image, grid)
    mean, variance = tokens.mean(-1), tokens.var(-1, correction=0)
    target = (image - spread(mean, image)) / spread(variance, image).sqrt()
    guess = torch.randn(image.shape, generator=generator(seed))
    hidden = spread(~batch["visible"], image).expand_as(image)
    expected = float((guess - target)[hidden].square().mean())
    found = loss(guess * spread(variance, image).sqrt() + spread(mean, image), batch, normalised=True)
    flattest = variance / (variance + 0.01 * image.var((2, 3, 4), correction=0).view(2, 2, 1, 1, 1))
    assert flattest.min() > 0.8
    assert float(flattest.min()) * expected <= found <= float(flattest.max()) * expected


def test_the_floor_of_a_flat_token_by_hand() -> None:
    # half the tokens are 1, the others 3: no token varies, the image's variance is 1, its floor 0.01
    image = torch.ones(1, 1, 4, 8, 8)
    image[:, :, 2:] = 3
    batch = batch_of(image, (2, 2, 2))
    batch["visible"][:] = True
    batch["visible"][0, 1, 0, 0] = False
    assert loss(image + 0.2, batch, normalised=True) == pytest.approx(0.04 / 0.01, rel=1e-3)


@pytest.mark.parametrize("with_ssim", [False, True])
def test_the_normalised_error_does_not_depend_on_the_units_of_the_scan(with_ssim: bool) -> None:
    batch = batch_of(noise())
    guess = noise(seed=9)
    scaled = {**batch, "image": 300 * batch["image"] - 200}
    found = loss(300 * guess - 200, scaled, normalised=True, with_ssim=with_ssim)
    assert found == pytest.approx(loss(guess, batch, normalised=True, with_ssim=with_ssim), rel=1e-3)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("with_ssim", [False, True])
def test_what_is_predicted_of_visible_voxels_does_not_matter(normalised: bool, with_ssim: bool) -> None:
    batch = batch_of(noise((3, 2, 2), (4, 6, 5)))
    batch["labels"][:, :, 9:] = IGNORE_INDEX
    network = Given(noise((3, 2, 2), (4, 6, 5), seed=9))
    objective = MaskedVoxelObjective(normalised, with_ssim)
    value = objective.loss(network, batch)
    value.backward()
    hidden = hidden_voxels(batch).expand_as(network.predicted)
    gradient = network.predicted.grad
    assert gradient is not None and (gradient[~hidden] == 0).all() and (gradient[hidden] != 0).all()
    other = torch.where(hidden, network.predicted.detach(), -70.0)
    assert loss(other, batch, normalised, with_ssim) == loss(network.predicted, batch, normalised, with_ssim)


@pytest.mark.parametrize("normalised", [False, True])
def test_similarity_is_added_to_the_error(normalised: bool) -> None:
    batch = batch_of(noise((3, 2, 2), (4, 6, 5)))
    guess, image = noise((3, 2, 2), (4, 6, 5), seed=9), batch["image"]
    low, high = intensity_range(image)
    hidden = hidden_voxels(batch)
    first, second = ((v - low) / (high - low) for v in (torch.where(hidden, guess, image), image))
    expected = loss(guess, batch, normalised) + 1 - float(ssim(first, second, within=hidden))
    assert loss(guess, batch, normalised, with_ssim=True) == pytest.approx(expected, abs=1e-6)
    assert loss(image, batch, normalised, with_ssim=True) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("with_ssim", [False, True])
def test_a_batch_of_which_nothing_counts_teaches_nothing(with_ssim: bool) -> None:
    batch = batch_of(noise((3, 2, 2), (4, 6, 5)))
    batch["labels"][:] = IGNORE_INDEX
    network = Given(noise((3, 2, 2), (4, 6, 5), seed=9))
    objective = MaskedVoxelObjective(normalised=True, with_ssim=with_ssim)
    value = objective.loss(network, batch)
    value.backward()
    assert float(value.detach()) == 0
    assert network.predicted.grad is not None and (network.predicted.grad == 0).all()


# Scores


def test_the_range_leaves_out_half_a_percent_at_both_ends() -> None:
    image = torch.arange(1001.0)[torch.randperm(1001, generator=generator())].view(1, 1, 7, 11, 13)
    low, high = intensity_range(torch.cat([image, -2 * image], 1))
    assert low.flatten().tolist() == [5, -1990] and high.flatten().tolist() == [995, -10]
    assert low.shape == (1, 2, 1, 1, 1)


def test_the_range_of_a_constant_is_not_empty() -> None:
    low, high = intensity_range(torch.zeros(1, 1, 3, 3, 3))
    assert float(high - low) > 0


def test_signal_to_noise_by_hand() -> None:
    # a range of 990; a constant error of 99 is a tenth: 20 dB. Of 9.9 a hundredth: 40 dB
    image = torch.arange(1001.0).view(1, 1, 7, 11, 13).expand(3, 1, 7, 11, 13)
    error = torch.tensor([99, -9.9, 0]).view(3, 1, 1, 1, 1)
    everywhere = torch.ones(3, 1, 7, 11, 13, dtype=torch.bool)
    assert psnr(image, image + error, everywhere) == pytest.approx([20, 40, 100], abs=1e-3)


def test_signal_to_noise_is_that_of_the_voxels_within() -> None:
    image = torch.arange(1001.0).view(1, 1, 7, 11, 13).expand(3, 2, 7, 11, 13)
    within = torch.zeros(3, 1, 7, 11, 13, dtype=torch.bool)
    within[:2, :, 2:4] = True
    predicted = torch.where(within, image + 99, 1e6)
    predicted[1, 1] = image[1, 1]  # one of two channels is right: half the squared error
    assert psnr(image, predicted, within) == pytest.approx([20, 20 + 10 * math.log10(2)], abs=1e-3)


def test_a_perfect_completion_is_one() -> None:
    image = noise((3, 2, 2), (4, 6, 5))
    within = hidden_voxels(batch_of(image))
    assert hidden_ssim(image, image, within) == pytest.approx([1, 1])
    elsewhere = torch.where(within, image, 99.0)
    assert hidden_ssim(image, elsewhere, within) == pytest.approx([1, 1])
    assert max(hidden_ssim(image, noise((3, 2, 2), (4, 6, 5), seed=9), within)) < 0.9


def test_similarity_does_not_depend_on_the_units_of_the_scan() -> None:
    image, guess = noise((3, 2, 2), (4, 6, 5)), noise((3, 2, 2), (4, 6, 5), seed=9)
    within = hidden_voxels(batch_of(image))
    scaled = hidden_ssim(300 * image - 200, 300 * guess - 200, within)
    assert scaled == pytest.approx(hidden_ssim(image, guess, within), abs=1e-3)


def test_images_without_a_counted_voxel_are_left_out_of_the_scores() -> None:
    image = noise((3, 2, 2), (4, 6, 5))
    within = hidden_voxels(batch_of(image))
    within[0] = False
    assert len(hidden_ssim(image, image + 1, within)) == len(psnr(image, image + 1, within)) == 1


def test_validation_is_the_mean_over_batches_and_images() -> None:
    first, second = batch_of(noise((3, 2, 2), (4, 6, 5))), batch_of(noise((3, 2, 2), (4, 6, 5), seed=4))
    second["labels"][1] = IGNORE_INDEX
    guess = noise((3, 2, 2), (4, 6, 5), seed=9)
    objective = MaskedVoxelObjective(normalised=False, with_ssim=False)
    with torch.no_grad():
        found = objective.validate(Given(guess), [first, second])
    assert found.loss == pytest.approx((loss(guess, first) + loss(guess, second)) / 2)
    assert set(found.scores) == {"SSIM"} and set(found.figures) == {"PSNR"}
    similarities, ratios = [], []
    for batch in (first, second):
        within = hidden_voxels(batch)
        similarities += hidden_ssim(batch["image"], guess, within)
        ratios += psnr(batch["image"], guess, within)
    assert len(similarities) == len(ratios) == 3
    assert found.scores["SSIM"] == pytest.approx(sum(similarities) / 3)
    assert found.figures["PSNR"] == pytest.approx(sum(ratios) / 3)


def test_validation_of_nothing_that_counts_scores_nothing() -> None:
    batch = batch_of(noise((3, 2, 2), (4, 6, 5)))
    batch["labels"][:] = IGNORE_INDEX
    with torch.no_grad():
        found = MaskedVoxelObjective(True, True).validate(Given(batch["image"].clone()), [batch])
    assert (found.loss, found.scores, found.figures) == (0, {"SSIM": 0}, {"PSNR": 0})


def test_intervals_are_over_persons_and_not_over_their_scans() -> None:
    scores = {name: {"network": {"psnr": psnr, "ssim": 0.5}} for name, psnr in (("a_L", 20.0), ("a_R", 22.0))}
    head, line = error_table(scores, {"a_L": "a", "a_R": "a"}).splitlines()
    assert head == "hidden voxels of 2 cases: mean" and "PSNR 21.00 dB   SSIM 0.500" in line
    head, line = error_table(scores, {}).splitlines()
    assert head.endswith("mean (95 % CI)") and "21.00 dB (20.00 to 22.00)" in line
