"""The learning rate along a training, of new and of pre-trained weights, and what is decayed."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from kneeformer.config import FineTuningSettings, TrainingSettings
from kneeformer.engine.optimiser import fine_tuning_rate, is_frozen, learning_rate, make_optimiser

SETTINGS = TrainingSettings(
    crop=(1, 1, 1), batch_size=1, epochs=10, steps_per_epoch=10, learning_rate=0.4, warmup_steps=4
)
TUNED = SETTINGS.model_copy(
    update={"fine_tuning": FineTuningSettings(learning_rate=0.08, frozen_steps=3, warmup_steps=4)}
)


def test_warm_up_is_linear_in_steps() -> None:
    assert [learning_rate(SETTINGS, step, 0) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("steps", [40, 400])
def test_the_warm_up_is_the_same_in_any_training_ten_times_as_long(steps: int) -> None:
    rates = [learning_rate(SETTINGS, s, s / steps) for s in range(4)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_short_training_warms_up_over_a_tenth_of_it() -> None:
    settings = SETTINGS.model_copy(update={"warmup_steps": 50})
    rates = [learning_rate(settings, s, s / 100) for s in range(12)]
    assert rates[:10] == pytest.approx([0.4 / 50, *(0.4 * s / 10 for s in range(2, 11))])
    assert rates[10:] == pytest.approx([0.2 * (1 + math.cos(math.pi * s / 100)) for s in (10, 11)])


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


def test_adam_has_the_same_groups_and_another_decay() -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    settings = SETTINGS.model_copy(update={"optimiser": "adam", "warmup_steps": 0})
    adam, adamw = make_optimiser(network, settings), make_optimiser(network, SETTINGS)
    assert type(adam) is torch.optim.Adam and type(adamw) is torch.optim.AdamW
    assert [g["weight_decay"] for g in adam.param_groups] == [g["weight_decay"] for g in adamw.param_groups]
    assert [len(g["params"]) for g in adam.param_groups] == [len(g["params"]) for g in adamw.param_groups]


def test_the_decay_of_adam_is_part_of_its_gradient() -> None:
    """Without any other gradient, Adam's first step is the whole rate; AdamW's is rate times decay."""
    for name, expected in (("adam", 1 - 0.4), ("adamw", 1 - 0.4 * 0.05)):
        network = nn.Linear(1, 1)
        nn.init.ones_(network.weight)
        network.weight.grad, network.bias.grad = torch.zeros(1, 1), torch.zeros(1)
        make_optimiser(network, SETTINGS.model_copy(update={"optimiser": name})).step()
        assert network.weight.item() == pytest.approx(expected, abs=1e-5)


def test_pretrained_weights_are_frozen_and_then_warm_up_to_a_rate_of_their_own() -> None:
    rates = [fine_tuning_rate(TUNED, step, 0) for step in range(9)]
    assert rates == pytest.approx([0, 0, 0, 0.02, 0.04, 0.06, 0.08, 0.08, 0.08])
    assert rates[:3] == [0, 0, 0]


def test_in_a_short_training_they_are_frozen_for_a_tenth_and_warm_up_over_another() -> None:
    tuning = FineTuningSettings(learning_rate=0.08, frozen_steps=50, warmup_steps=50)
    settings = SETTINGS.model_copy(update={"fine_tuning": tuning})
    rates = [fine_tuning_rate(settings, s, s / 50) for s in range(11)]
    assert rates == pytest.approx(
        [0] * 5 + [0.08 * s / 5 for s in range(1, 6)] + [0.04 * (1 + math.cos(math.pi / 5))]
    )
    assert [is_frozen(settings, s, s / 50) for s in range(7)] == [True] * 5 + [False] * 2


def test_a_network_without_new_weights_does_not_wait() -> None:
    rates = [fine_tuning_rate(TUNED, step, 0, waits=False) for step in range(5)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.08])


@pytest.mark.parametrize(
    ("share", "rate"), [(0, 0.08), (0.25, 0.08 * (2 + math.sqrt(2)) / 4), (0.5, 0.04), (1, 0), (1.3, 0)]
)
def test_pretrained_weights_follow_the_same_cosine(share: float, rate: float) -> None:
    assert fine_tuning_rate(TUNED, 7, share) == pytest.approx(rate, abs=1e-12)
    assert fine_tuning_rate(TUNED, 10**6, share) == pytest.approx(rate, abs=1e-12)


def test_new_weights_do_not_wait() -> None:
    assert [learning_rate(TUNED, s, 0.3) for s in range(9)] == [
        learning_rate(SETTINGS, s, 0.3) for s in range(9)
    ]


def test_without_settings_of_their_own_pretrained_weights_learn_like_new_ones() -> None:
    assert [fine_tuning_rate(SETTINGS, s, s / 20) for s in range(20)] == [
        learning_rate(SETTINGS, s, s / 20) for s in range(20)
    ]


def test_neither_frozen_steps_nor_warm_up() -> None:
    at_once = FineTuningSettings(learning_rate=0.08, frozen_steps=0, warmup_steps=0)
    assert fine_tuning_rate(SETTINGS.model_copy(update={"fine_tuning": at_once}), 0, 0) == 0.08


def test_pretrained_parameters_have_groups_of_their_own() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 4))
    groups = make_optimiser(network, SETTINGS, {"0.weight", "1.weight", "1.bias", "frequencies"}).param_groups
    names = {id(p): name for name, p in network.named_parameters()}
    found = {(g["pretrained"], g["weight_decay"]): {names[id(p)] for p in g["params"]} for g in groups}
    assert found == {
        (False, 0.05): {"2.weight"},
        (False, 0): {"0.bias", "2.bias"},
        (True, 0.05): {"0.weight"},
        (True, 0): {"1.weight", "1.bias"},
    }


def test_there_is_no_group_without_parameters() -> None:
    network = nn.Linear(3, 2, bias=False)
    for pretrained in ((), ("weight",)):
        (group,) = make_optimiser(network, SETTINGS, pretrained).param_groups
        assert group["pretrained"] == bool(pretrained) and group["params"] == [network.weight]
