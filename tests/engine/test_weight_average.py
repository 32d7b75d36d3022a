"""Averages of weights: values by hand, and buffers. Trainings with them are in test_loop.py."""

import pytest
import torch
from torch import nn

from kneeformer.engine.weight_average import LONGEST_WINDOW, WeightAverage


def weight(value: float) -> nn.Module:
    """A network of one weight."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def averages(values: list[float], share: float, first_step: int = 1) -> list[float]:
    """The average after each of the steps, in which the weight has those values."""
    network = weight(9.0)
    average = WeightAverage(network, share)
    found = []
    for step, value in enumerate(values, first_step):
        nn.init.constant_(network.weight, value)
        average.update(network, step)
        found.append(float(average.network.weight))
    return found


def test_the_window_is_a_share_of_the_steps_so_far() -> None:
    # windows 1, 1, 1.5, 2: nothing is left of the 9 that it began with
    assert averages([0.0, 6.0, 0.0, 4.0], share=0.5) == pytest.approx([0.0, 6.0, 2.0, 3.0])


def test_the_window_has_an_end() -> None:
    far = 100 * LONGEST_WINDOW
    assert averages([9.0 + LONGEST_WINDOW], share=1.0, first_step=far) == pytest.approx([10.0])


def test_it_is_a_copy_in_evaluation_mode_that_takes_buffers_as_they_are() -> None:
    network = nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2))
    average = WeightAverage(network, 1.0)
    network(torch.ones(1, 1, 4))
    average.update(network, 10)
    ours, theirs = dict(average.network.named_buffers()), dict(network.named_buffers())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours) and int(ours["1.num_batches_tracked"])
    assert not average.network.training and network.training
    assert not any(p.requires_grad for p in average.network.parameters())
