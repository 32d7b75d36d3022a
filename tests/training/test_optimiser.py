"""The learning rate along a training, and what is decayed."""

import math
from itertools import pairwise

import pytest
from torch import nn

from kneeformer.plan import TrainingSettings
from kneeformer.training.optimiser import learning_rate, make_optimiser

SETTINGS = TrainingSettings(
    crop=(1, 1, 1), batch_size=1, epochs=10, steps_per_epoch=10, learning_rate=0.4, warmup_steps=4
)


def test_warm_up_is_linear_in_steps() -> None:
    assert [learning_rate(SETTINGS, step, 0) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_the_clock_does_not_change_the_warm_up() -> None:
    assert [learning_rate(SETTINGS, s, 0.5) for s in range(4)] == [
        learning_rate(SETTINGS, s, 0) for s in range(4)
    ]


@pytest.mark.parametrize(
    ("share", "rate"), [(0, 0.4), (0.25, 0.4 * (2 + math.sqrt(2)) / 4), (0.5, 0.2), (1, 0), (1.3, 0)]
)
def test_cosine_by_share(share: float, rate: float) -> None:
    assert learning_rate(SETTINGS, 4, share) == pytest.approx(rate, abs=1e-12)
    assert learning_rate(SETTINGS, 10**6, share) == pytest.approx(rate, abs=1e-12)


def test_it_only_falls_after_the_warm_up() -> None:
    rates = [learning_rate(SETTINGS, step, step / 100) for step in range(4, 101)]
    assert all(a > b for a, b in pairwise(rates)) and rates[-1] == 0


def test_no_warm_up() -> None:
    assert learning_rate(SETTINGS.model_copy(update={"warmup_steps": 0}), 0, 0) == 0.4


def test_matrices_are_decayed_and_vectors_are_not() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.GroupNorm(1, 2), nn.Linear(2, 2, bias=False))
    network[2].weight.requires_grad = False
    decayed, kept = make_optimiser(network, SETTINGS).param_groups
    assert [id(p) for p in decayed["params"]] == [id(network[0].weight)] and decayed["weight_decay"] == 0.05
    assert {id(p) for p in kept["params"]} == {id(network[0].bias), *map(id, network[1].parameters())}
    assert kept["weight_decay"] == 0 and decayed["lr"] == 0.4
