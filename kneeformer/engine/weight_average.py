"""Exponential moving average of a network's weights along a training, which predicts in their place."""

import copy

import torch
from torch import Tensor, nn

LONGEST_WINDOW = 1000  # steps


class WeightAverage:
    """A copy of a network whose weights are averages (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).

    The window grows with the training (Karras et al. 2024): the random weights at its start are soon
    forgotten, and the length of the training need not be known.

    Attributes:
        network: has the averages as weights; in evaluation mode.
        share: window of the average as a share of the steps so far, up to 1000 steps.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        self.network, self.share = copy.deepcopy(network).eval().requires_grad_(False), share

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after a step, counted from 1, into the average; buffers are copied."""
        window = min(max(1.0, self.share * step), LONGEST_WINDOW)
        averages: list[Tensor] = [*self.network.parameters()]
        torch._foreach_lerp_(averages, [*network.parameters()], 1 / window)
        for kept, now in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(now)
