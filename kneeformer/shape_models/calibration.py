"""Corrections of a prior's standard deviations, which are too small or too large."""

import torch
from torch import Tensor, nn


class Calibration(nn.Module):
    """Two corrections, from the errors of left-out bones.

    Attributes:
        factor: (), by which deviations are multiplied to match the errors.
        length_quantile: (), half the width of the 90 % interval of lengths, in these deviations.
    """

    factor: Tensor
    length_quantile: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("length_quantile", torch.tensor(1.645))
