"""Losses of steps as numbers, read from a GPU without waiting for it."""

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kneeformer.engine.batch import Batch
from kneeformer.engine.divergence import divergence


@dataclass(frozen=True)
class TakenStep:
    """A finished step: its number, from 1, its loss and its learning rate."""

    number: int
    loss: float
    rate: float


@dataclass(frozen=True)
class _Unread:
    """A step whose loss and gradient norm, (2,) float32, are on their way from the device."""

    number: int
    rate: float
    batch: Batch
    found: Tensor
    arrived: torch.cuda.Event | None


class LossReader:
    """Reads the loss of a step while the device computes a later one, and stops at one that is not finite.

    Reading a number from a GPU waits for all the work that it was given, and leaves it idle until it is given
    more. Reading one step behind keeps it busy.

    Attributes:
        behind: number of steps that may be unread; 0 reads each at once.
    """

    def __init__(self, folder: Path, network: nn.Module, behind: int) -> None:
        self.folder, self.network, self.behind = folder, network, behind
        self._unread: deque[_Unread] = deque()

    def add(self, number: int, rate: float, batch: Batch, loss: Tensor, norm: Tensor) -> Tensor:
        """Take the loss and the gradient's norm of a step before its update.

        Returns:
            () float32: 1 if one of them is not finite, so that the update must be skipped; else 0.
        """
        found = torch.stack([loss.detach().float(), norm.float()])
        there = found.to("cpu", non_blocking=found.is_cuda)
        arrived = torch.cuda.current_stream(found.device).record_event() if found.is_cuda else None
        self._unread.append(_Unread(number, rate, batch, there, arrived))
        return (~found.isfinite()).any().float()

    def read(self, behind: int = 0) -> list[TakenStep]:
        """Steps not read before, without the last few that may stay unread.

        Raises:
            KneeformerError: the loss or the gradient of one is not a number.
        """
        return [self._read(self._unread.popleft()) for _ in range(len(self._unread) - behind)]

    def _read(self, step: _Unread) -> TakenStep:
        if step.arrived is not None:
            step.arrived.synchronize()
        loss, norm = step.found.tolist()
        for what, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                raise divergence(self.folder, what, step.number, self.network, step.batch)
        return TakenStep(step.number, loss, step.rate)
