"""What one side tells of the other: correlations by hand, and what they make of a prior."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.both_sides import BothSides
from kneeformer.shape_models.gaussian_process import GaussianProcess
from kneeformer.shape_models.priors import Pca
from kneeformer.shape_models.settings import PriorSettings
from kneeformer.sides import Whose

GRID, SPACING = (6, 7, 8), (3.0, 3.0, 3.0)
KNOWN = torch.ones(GRID, dtype=torch.bool)
Y, X = (points_from_middle(GRID, SPACING)[:, n].reshape(GRID) for n in (1, 2))


def plane(shift_mm: float, bend: float = 0.0) -> Tensor:
    """(2, z, y, x): a surface across y."""
    distance = Y + shift_mm + bend * (X / 6).sin()
    return torch.stack([(distance < 0).float(), distance])


def whose(*of: str) -> list[Whose]:
    """ "aL" is the left bone of a."""
    return [Whose(name[0], "left" if name[1] == "L" else "right") for name in of]


def learnt(bones: list[Tensor], of: list[Whose]) -> tuple[Pca, BothSides]:
    prior, sides = Pca(GRID, SPACING, PriorSettings(components=1)), BothSides()
    prior.fit(torch.stack(bones), [one.person for one in of])
    gram, voxels = prior.gram(torch.stack(bones))
    scales = [1.1 if one.side == "left" else 1.0 for one in of]
    sides.learn(gram, of, scales, 1, voxels * 0.5**2, 0.2)
    return prior, sides


def test_without_pairs_it_is_the_usual() -> None:
    usual = BothSides()
    _, sides = learnt([plane(0), plane(1), plane(2)], whose("aL", "bR", "cL"))
    assert sides.scores == usual.scores and sides.residual == usual.residual and sides.pairs == 0


def test_two_bones_of_one_side_are_no_pair() -> None:
    assert learnt([plane(0), plane(1), plane(2)], whose("aL", "aL", "bL"))[1].pairs == 0


@pytest.mark.parametrize("others", [[], [0.0], [1.0, 1.0]])
def test_a_pair_without_others_that_differ_tells_nothing(others: list[float]) -> None:
    bones = [plane(1), plane(2), *(plane(shift) for shift in others)]
    _, sides = learnt(bones, whose("aL", "aR", *(f"{name}L" for name in "bc"[: len(others)])))
    assert sides.pairs == 0 and torch.isfinite(sides.scores)


class OnTheDevice(TorchFunctionMode):
    """Raises AssertionError: a tensor is made on the CPU, whatever device the others are on."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        assert function is not torch.tensor or "device" in (named or {})
        return function(*arguments, **(named or {}))


def test_a_pair_is_learnt_from_on_the_device_of_the_bones() -> None:
    gram, of = torch.eye(4, dtype=torch.float64), whose("bL", "cL", "aL", "aR")
    sides = BothSides()
    with OnTheDevice():
        sides.learn(gram, of, [1.0, 1.0, 1.1, 1.0], 1, 1.0, 0.2)
    assert sides.pairs == 1


def test_a_pair_counts_beside_four_people() -> None:
    """The others lie 0 and 2 mm off, a standard deviation of sqrt 2; the pair are 1 mm and a bend apart."""
    _, sides = learnt([plane(0), plane(2), plane(1, 0.5), plane(2)], whose("bL", "cL", "aL", "aR"))
    scores = 1 - (4 * 0.2 + 1**2 / 2) / 5 / 2
    scale = 1 - (4 * 0.04 + (torch.tensor(1.1).log() / 0.2) ** 2) / 5 / 2
    telling = Y.abs() < 9.9
    bend = 0.5 * (X / 6).sin()[telling]
    rest = float((bend - bend.mean()).square().mean()) / 0.5**2
    assert float(sides.scores) == pytest.approx(scores, abs=0.01)
    assert float(sides.residual) == pytest.approx(1 - (4 * 0.6 + rest) / 5 / 2, abs=0.01)
    assert float(sides.log_scale) == pytest.approx(float(scale), abs=1e-4)
    assert sides.pairs == 1


def test_the_usual_error_is_that_beside_other_people() -> None:
    """A person's other bone, the same, does not make hers usual."""
    bones = [plane(0), plane(2), plane(1, 1.0), plane(1, 1.0)]
    prior, _ = learnt(bones, whose("bL", "cL", "aL", "aR"))
    alone = Pca(GRID, SPACING, PriorSettings(components=1))
    alone.fit(torch.stack(bones))
    assert prior.noise_mm > alone.noise_mm


@pytest.mark.parametrize("kind", [Pca, GaussianProcess])
def test_a_prior_given_the_other_side_is_that_of_a_correlated_gaussian(kind: type[Pca]) -> None:
    prior, sides = kind(GRID, SPACING, PriorSettings(components=2, correlation_mm=3.0)), BothSides()
    prior.fit(torch.stack([plane(s) for s in (-2.0, -1, 0, 1, 2)]))
    prior.noise_mm.fill_(0.1)
    given = prior.given_other_side(plane(3.0, 0.4), KNOWN, sides)
    assert type(given) is kind
    r, rest = float(sides.scores), float(sides.residual)
    expected = prior.mean[1] + r * 3.0 + rest * 0.4 * (X / 6).sin()
    assert torch.allclose(given.mean[1], expected, atol=0.1)
    assert torch.allclose(given.modes[:, 1].abs(), (1 - r**2) ** 0.5 * prior.modes[:, 1].abs(), atol=0.05)
    assert float(given.noise_mm) == pytest.approx(0.1 * (1 - rest**2) ** 0.5)


def test_what_is_unknown_of_the_other_side_says_nothing() -> None:
    prior, sides, image = Pca(GRID, SPACING, PriorSettings(components=2)), BothSides(), plane(3.0)
    prior.fit(torch.stack([plane(s) for s in (-2.0, -1, 0, 1, 2)]))
    nothing = prior.given_other_side(image, ~KNOWN, sides)
    assert torch.equal(nothing.mean, prior.mean)
    assert torch.allclose(nothing.modes, prior.modes)
    sides.scores.zero_()
    sides.residual.zero_()
    uncorrelated = prior.given_other_side(image, KNOWN, sides)
    assert torch.equal(uncorrelated.mean, prior.mean) and torch.allclose(uncorrelated.modes, prior.modes)
