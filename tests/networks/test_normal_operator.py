"""The normal operator by matrix products is the one by Fourier transforms."""

import pytest
import torch
from torch import Tensor

from kneeformer.networks.normal_operator import ByProducts, coprime_factors
from kneeformer.networks.sense import Measurement, root_sum_of_squares


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def measurement(columns: int, masks: int = 2) -> Measurement:
    shape = (2, 3, 2, 5, columns)
    maps = noise(1, *shape)
    maps = maps / root_sum_of_squares(maps).unsqueeze(1)
    mask = torch.rand(masks, 1, 1, 1, columns, generator=torch.Generator().manual_seed(2)) < 0.4
    return Measurement(mask * noise(3, *shape), mask, maps)


@pytest.mark.parametrize("columns", [34, 51, 184, 368, 372])
@pytest.mark.parametrize("masks", [1, 2])
def test_it_is_what_combining_makes_of_what_is_measured(columns: int, masks: int) -> None:
    """Of even and odd numbers of columns, of one mask for all and one for each of a batch."""
    operator, image = measurement(columns, masks), noise(4, 2, 2, 5, columns)
    assert coprime_factors(columns) is not None
    wanted = operator.combine(operator.measure(image))
    assert (operator.normal(image) - wanted).norm() < 1e-6 * wanted.norm()


def test_it_stays_exact_where_networks_compute_in_half_precision() -> None:
    operator, image = measurement(46), noise(4, 2, 2, 5, 46)
    wanted = operator.normal(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(operator.normal(image), wanted)


def test_it_is_its_own_adjoint_and_has_a_gradient() -> None:
    operator, one, other = measurement(46), noise(5, 2, 2, 5, 46), noise(6, 2, 2, 5, 46).requires_grad_()
    left, right = torch.vdot(operator.normal(one).flatten(), other.flatten()), operator.normal(other)
    assert abs(left - torch.vdot(one.flatten(), right.flatten())) < 1e-5 * abs(left)
    (slope,) = torch.autograd.grad(torch.vdot(one.flatten(), right.flatten()).real, other)
    torch.testing.assert_close(slope, operator.normal(one), atol=1e-5, rtol=1e-5)


def test_arranging_is_undone() -> None:
    maps, image = noise(7, 1, 2, 1, 3, 46), noise(8, 1, 1, 3, 46)
    operator = ByProducts(maps, torch.ones(1, 1, 1, 1, 46, dtype=torch.bool), (2, 23))
    assert torch.equal(operator.restored(operator.arranged(image)), image)


@pytest.mark.parametrize(
    ("columns", "factors"),
    [
        (368, (16, 23)),
        (372, (12, 31)),
        (46, (2, 23)),
        (17, (1, 17)),
        (320, None),
        (384, None),
        (23 * 23, None),
    ],
)
def test_columns_are_split_where_their_number_has_a_large_prime(
    columns: int, factors: tuple[int, int] | None
) -> None:
    """Neither where Fourier transforms are quick nor where the matrices would be large, as of a prime 367."""
    assert coprime_factors(columns) == factors
    assert coprime_factors(367) is None
