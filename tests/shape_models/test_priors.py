"""Priors complete what they have seen, know how sure they are, and read only what is known."""

import itertools

import pytest
import torch
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.build_prior import build_prior
from kneeformer.shape_models.priors import MeanShape, NearestBone, Pca, ShapePrior, ZeroFilledPca
from kneeformer.shape_models.settings import PriorSettings

KINDS = {  # fitted in closed form
    "prototype": MeanShape,
    "nearest": NearestBone,
    "pca": Pca,
    "pca_zero": ZeroFilledPca,
}
GRID, SPACING = (10, 12, 14), (2.0, 2.0, 2.0)
POINTS = points_from_middle(GRID, SPACING)
KNOWN = torch.ones(GRID, dtype=torch.bool)
HALF = (POINTS[:, 0] < 0).reshape(GRID)
NOTHING = torch.zeros_like(KNOWN)


def ball(radius_mm: float = 7.0) -> Tensor:
    distance = (POINTS.norm(dim=1) - radius_mm).reshape(GRID)
    return torch.stack([(distance < 0).float(), distance])


def modes() -> Tensor:
    """Two ways in which the balls differ, (2, 2, z, y, x): taller, and wider; each has its own CT."""
    z, y, x = (POINTS / 10).T.reshape(3, *GRID)
    return torch.stack([torch.stack([0.1 * z, 1.0 + z]), torch.stack([0.2 * x, 0.5 * y - x * z])])


def bones(scores: Tensor) -> Tensor:
    """(bones, 2, z, y, x) from (bones, 2) scores."""
    return ball() + torch.einsum("nk,kczyx->nczyx", scores, modes())


def some_scores(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def fitted(kind: str, data: Tensor, components: int = 2, **settings: float) -> ShapePrior:
    prior = build_prior(
        GRID, SPACING, PriorSettings.model_validate({"kind": kind, "components": components, **settings})
    )
    prior.fit(data)
    return prior


def noisy_bones(count: int = 8, noise_mm: float = 0.3) -> Tensor:
    data = bones(some_scores(count))
    generator = torch.Generator().manual_seed(9)
    data[:, 1] += noise_mm * torch.randn(data[:, 1].shape, generator=generator)
    return data


# ---- principal components


def test_two_modes_are_recovered() -> None:
    scores = some_scores(9)
    data = bones(scores)
    prior = fitted("pca", data, components=4)
    assert isinstance(prior, Pca)
    assert torch.allclose(prior.mean, data.mean(0), atol=1e-5)
    lengths = prior.modes[:, 1].flatten(1).norm(dim=1)
    assert (lengths[2:] < 1e-3 * lengths[1]).all()
    spanned = torch.linalg.lstsq(prior.modes[:2].flatten(1).T, modes().flatten(1).T)
    assert torch.allclose(prior.modes[:2].flatten(1).T @ spanned.solution, modes().flatten(1).T, atol=1e-3)


def test_a_mode_is_a_standard_deviation_long() -> None:
    line = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] * torch.tensor([[1.0, 0.0]])
    prior = fitted("pca", bones(line), components=1)
    assert isinstance(prior, Pca)
    deviation = 2.5**0.5  # of the five scores
    sign = torch.sign((prior.modes[0, 1] * modes()[0, 1]).sum())
    assert torch.allclose(sign * prior.modes[0], deviation * modes()[0], atol=1e-4)
    guess = prior.complete(ball(), NOTHING)
    assert guess.deviation_mm is not None
    assert torch.allclose(guess.deviation_mm, deviation * modes()[0, 1].abs(), atol=1e-4)


@pytest.mark.parametrize("known", [KNOWN, HALF], ids=["all", "half"])
def test_a_bone_of_the_learnt_kind_is_completed(known: Tensor) -> None:
    prior = fitted("pca", bones(some_scores(9)), correlation_mm=2.0)
    for score in some_scores(3, seed=1):
        whole = bones(score[None])[0]
        seen = whole.clone()
        seen[:, ~known] = torch.nan
        guess = prior.complete(seen, known).image
        assert (guess - whole)[1].abs().max() < 0.02
        assert (guess - whole)[0].abs().max() < 0.02


def test_nothing_known_leaves_the_mean_and_the_priors_own_deviation() -> None:
    prior = fitted("pca", noisy_bones())
    assert isinstance(prior, Pca)
    guess = prior.complete(torch.full((2, *GRID), torch.nan), NOTHING)
    assert torch.allclose(guess.image, prior.mean)
    assert guess.deviation_mm is not None
    assert torch.allclose(guess.deviation_mm, prior.modes[:, 1].square().sum(0).sqrt(), atol=1e-5)


def test_the_more_is_known_the_surer() -> None:
    prior = fitted("pca", noisy_bones(), components=5)
    whole = bones(some_scores(1, seed=3))[0]
    shares = [(POINTS[:, 0] < limit).reshape(GRID) for limit in (-100.0, -6.0, -2.0, 2.0, 100.0)]
    spreads = [prior.complete(whole, known).deviation_mm for known in shares]
    for less, more in itertools.pairwise(spreads):
        assert less is not None and more is not None
        assert (more <= less + 1e-5).all() and more.mean() < less.mean()


def test_the_posterior_is_that_of_ridge_regression() -> None:
    """Scores a minimise |a|^2 + |modes a - away|^2 / (variance of a voxel's error, as they count)."""
    data = noisy_bones()
    prior = fitted("pca", data, components=3, correlation_mm=6.0)
    assert isinstance(prior, Pca)
    whole, seen = noisy_bones()[2], HALF & (prior.mean[1].abs() < 10)
    design = prior.modes[:, 1, seen].double().T / (float(prior.noise_mm) * 27**0.5)  # 27 voxels in 6 mm
    away = (whole - prior.mean)[1, seen].double() / (float(prior.noise_mm) * 27**0.5)
    stacked = torch.cat([design, torch.eye(3, dtype=torch.float64)])
    scores = torch.linalg.lstsq(stacked, torch.cat([away, torch.zeros(3)])[:, None].double()).solution[:, 0]
    wanted = prior.mean + torch.einsum("k,kczyx->czyx", scores.float(), prior.modes)
    assert torch.allclose(prior.complete(whole, HALF).image, wanted, atol=1e-4)


def test_with_visible_ct_the_posterior_is_that_of_ridge_regression_of_both() -> None:
    """CT has errors of 0.05, a voxel's counting as the distances' do: 27 of them as one."""
    prior = fitted("pca", noisy_bones(), components=3, correlation_mm=6.0)
    assert isinstance(prior, Pca)
    whole, telling = noisy_bones()[2], HALF & (prior.mean[1].abs() < 10)
    whole[0] += 1.0
    inside = HALF & (whole[1] < 0)
    away = whole - prior.mean
    errors = (0.05 * 27**0.5, float(prior.noise_mm) * 27**0.5)
    design = [prior.modes[:, c, at].T / e for c, at, e in zip((0, 1), (inside, telling), errors, strict=True)]
    values = [away[c, at] / e for c, at, e in zip((0, 1), (inside, telling), errors, strict=True)]
    stacked, wanted = torch.cat([*design, torch.eye(3)]), torch.cat([*values, torch.zeros(3)])
    scores = torch.linalg.lstsq(stacked.double(), wanted[:, None].double()).solution[:, 0]
    wanted = prior.mean[0] + torch.einsum("k,kzyx->zyx", scores.float(), prior.modes[:, 0])
    guess = prior.complete(whole, HALF)
    found = prior.with_visible_ct(guess, whole, HALF)
    assert torch.allclose(found.image[0], wanted, atol=1e-4)
    assert (found.image[0] - guess.image[0]).abs().max() > 0.02
    assert torch.equal(found.image[1], guess.image[1]) and found.deviation_mm is guess.deviation_mm


def test_visible_ct_tells_hidden_ct_where_shape_does_not() -> None:
    """Bones of one shape to 0.02 mm, some denser than others, and a bone from among them."""
    dense = torch.stack([(ball()[1] < 0).float(), 0.02 * POINTS[:, 1].sign().reshape(GRID)])

    def bone(density: float) -> Tensor:
        return ball() + density * dense

    prior = fitted("pca", torch.stack([bone(d) for d in (-0.2, -0.1, 0.0, 0.1, 0.2)]), components=1)
    prior.noise_mm.fill_(0.5)
    whole, hidden = bone(0.15), ~HALF & (ball()[1] < 0)
    guess = prior.complete(whole, HALF)
    found = prior.with_visible_ct(guess, whole, HALF)
    before, after = ((g.image - whole)[0, hidden].abs().mean() for g in (guess, found))
    assert before > 0.14 and after < 0.05


def test_a_plain_projection_takes_hidden_voxels_for_the_mean() -> None:
    data = noisy_bones()
    prior = fitted("pca_zero", data, components=3)
    assert isinstance(prior, ZeroFilledPca)
    telling = prior.mean[1].abs() < 10
    design = prior.modes[:, 1, telling].double().T
    for known in (KNOWN, HALF):
        filled = torch.where(known, data[2] - prior.mean, 0)[1, telling].double()
        scores = torch.linalg.lstsq(design, filled[:, None]).solution[:, 0]
        wanted = prior.mean + torch.einsum("k,kczyx->czyx", scores.float(), prior.modes)
        assert torch.allclose(prior.complete(data[2], known).image, wanted, atol=1e-4)
    assert torch.equal(prior.complete(data[2], NOTHING).image, prior.mean)


def test_there_are_fewer_modes_than_bones() -> None:
    prior = fitted("pca", noisy_bones(4), components=7)
    assert isinstance(prior, Pca)
    assert (prior.modes[3:] == 0).all() and (prior.modes[:3].flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize(("count", "components"), [(6, 2), (6, 9), (3, 1), (2, 1)])
def test_the_usual_error_is_that_of_bones_left_out(count: int, components: int) -> None:
    data = noisy_bones(count)
    prior = fitted("pca", data, components)
    telling = data.mean(0)[1].abs() < 10
    errors = []
    for out in range(count):
        others = torch.stack([data[i, 1, telling].double() for i in range(count) if i != out])
        centred = others - others.mean(0)
        kept = min(components, count - 2)
        basis = torch.linalg.svd(centred, full_matrices=False).Vh[:kept]
        away = data[out, 1, telling].double() - others.mean(0)
        errors.append((away - basis.T @ (basis @ away)).square().mean())
    assert float(prior.noise_mm) == pytest.approx(float(torch.stack(errors).mean().sqrt()), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 4])
def test_one_bone_or_equal_ones_are_a_prior_all_the_same(kind: str, count: int) -> None:
    prior = fitted(kind, ball()[None].repeat(count, 1, 1, 1, 1), components=4)
    assert torch.allclose(prior.complete(ball(8), HALF).image, ball(), atol=1e-3)
    assert 0 < prior.noise_mm <= 1


# ---- the others


def test_the_mean_shape_is_the_mean_whatever_is_visible() -> None:
    data = noisy_bones()
    prior = fitted("prototype", data, components=1)
    for known in (KNOWN, HALF, NOTHING):
        guess = prior.complete(data[0], known)
        assert torch.allclose(guess.image, data.mean(0))
        assert guess.deviation_mm is not None and (guess.deviation_mm == prior.noise_mm).all()
    away = (data - data.mean(0))[:, 1, data.mean(0)[1].abs() < 10]
    assert float(prior.noise_mm) == pytest.approx(float(away.square().mean().sqrt()), rel=0.01)


@pytest.mark.parametrize("places", [6, 9])
def test_the_nearest_bone_by_what_is_visible(places: int) -> None:
    data = noisy_bones(6)
    prior = fitted("nearest", data, components=places)
    for number in range(6):
        seen = data[number] + 0.01
        seen[:, ~HALF] = torch.nan if number % 2 else data[(number + 1) % 6][:, ~HALF]
        guess = prior.complete(seen, HALF)
        assert torch.equal(guess.image, data[number])
        assert guess.deviation_mm is None
    distances = data[:, 1, data.mean(0)[1].abs() < 10]
    apart = [
        min(float((a - b).square().mean().sqrt()) for j, b in enumerate(distances) if j != i)
        for i, a in enumerate(distances)
    ]
    assert float(prior.noise_mm) == pytest.approx(sum(apart) / 6, rel=1e-3)


# ---- all of them


@pytest.mark.parametrize("kind", KINDS)
def test_a_completion_is_the_callers_own(kind: str) -> None:
    prior = fitted(kind, noisy_bones(4), components=4)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    whole = ball()
    prior.complete(whole, KNOWN).image.fill_(5)
    assert torch.equal(whole, ball())
    assert all(torch.equal(v.nan_to_num(), before[n].nan_to_num()) for n, v in prior.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_all_there_is(kind: str) -> None:
    prior = fitted(kind, noisy_bones(4), components=6)
    assert isinstance(prior, KINDS[kind])
    other = build_prior(GRID, SPACING, prior.settings)
    other.load_state_dict(prior.state_dict())
    whole = bones(some_scores(1, seed=5))[0]
    first, second = prior.complete(whole, HALF), other.complete(whole, HALF)
    assert torch.equal(first.image, second.image)
    if first.deviation_mm is not None:
        assert second.deviation_mm is not None and torch.equal(first.deviation_mm, second.deviation_mm)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_voxels_change_no_bit(kind: str) -> None:
    prior = fitted(kind, noisy_bones(5), components=5)
    whole = bones(some_scores(1, seed=6))[0]
    spoilt = whole.clone()
    spoilt[:, ~HALF] = 1e6 * torch.randn(spoilt[:, ~HALF].shape, generator=torch.Generator().manual_seed(0))
    guess, other = prior.complete(whole, HALF), prior.complete(spoilt, HALF)
    assert torch.equal(guess.image, other.image)
    spoilt[0, HALF & (whole[1] >= 0)] = 1e6  # CT is read inside the bone alone
    found, again = (prior.with_visible_ct(guess, image, HALF) for image in (whole, spoilt))
    assert torch.equal(found.image, again.image)
