"""Corrections of the deviations of a prior, which trusts itself too much or too little."""

import torch
from torch import Tensor, nn


class Calibration(nn.Module):
    """Two corrections, learnt of the errors of left-out bones.

    Attributes:
        factor: (), by which deviations are multiplied: how much larger those errors are.
        length_quantile: (), how many deviations so multiplied hold 90 % of the lengths, to either side.
    """

    factor: Tensor
    length_quantile: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("length_quantile", torch.tensor(1.645))
