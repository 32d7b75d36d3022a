"""Ranks: processes that train one network together, each on its share of every batch (torch.distributed).

Rank 0 leads: it decides, writes and prints; the others make the calls that it sends them (`serve`). Losses
pool their sums over the ranks, so each rank has the loss of the whole batch and the gradient through its own
items; the gradients are then added. Several ranks thus learn what one process learns from the same batches.
In a process that trains alone, the functions here return what they were given.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kneeformer.errors import KneeformerError

_PATIENCE = timedelta(days=7)  # the others wait while the leader validates; a lost rank is noticed at once
LOST = 75  # exit status of a rank that cannot go on without another (EX_TEMPFAIL)
_whole: ContextVar[int | None] = ContextVar("whole", default=None)  # batch size of a shared step


class RankLost(KneeformerError):
    """Another rank has ended, and this one cannot continue without it."""


def started() -> bool:
    """True in one of several processes that torchrun has started."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def joined(device: str | None) -> Iterator[str]:
    """Join the ranks that torchrun has started, each on a GPU of its own if there are GPUs.

    When the leader's block ends, `serve` returns in the others.

    Args:
        device: "cpu", "cuda", or None for the best one.

    Yields:
        The kind of device on which ranks train; "cuda" is this rank's own GPU.

    Raises:
        KneeformerError: as `device_of`, or the others cannot be reached.
    """
    kind = device_of(device, int(os.environ["LOCAL_WORLD_SIZE"]))
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    except RuntimeError as fault:
        raise KneeformerError(f"rank {os.environ['RANK']} cannot reach the others: {fault}") from fault
    yield kind
    if leads():
        tell(None)
    dist.destroy_process_group()


def device_of(device: str | None, here: int) -> str:
    """The kind of device, "cuda" or "cpu", on which the ranks of this machine train.

    Raises:
        KneeformerError: another kind is named, or there are fewer GPUs than ranks.
    """
    there = torch.cuda.device_count()
    kind = device or ("cuda" if there else "cpu")
    if kind not in ("cpu", "cuda"):
        raise KneeformerError(f"-device {kind}: several processes train on cuda, one GPU each, or on cpu")
    if kind == "cuda" and here > there:
        raise KneeformerError(f"{here} processes on {there} GPUs: start one per GPU, or add -device cpu")
    return kind


def size() -> int:
    """Number of ranks; 1 in a process that trains alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this rank; 0 leads."""
    return dist.get_rank() if size() > 1 else 0


def leads() -> bool:
    """True in the rank that tells the others what to do."""
    return rank() == 0


# ---- messages of the leader


def tell(message: Any) -> None:
    """Send a small message, anything that can be pickled, to all other ranks, which `listen`."""
    if size() > 1:
        with _raising_rank_lost():
            dist.broadcast_object_list([message])


def listen() -> Any:
    """The next message of the leader. Raises RankLost."""
    told = [None]
    with _raising_rank_lost():
        dist.broadcast_object_list(told)
    return told[0]


def call(function: Callable[..., None], *arguments: Any) -> None:
    """Make all other ranks, which `serve`, call a function that can be imported by name."""
    tell((function, arguments))


def serve() -> None:
    """Make the calls that the leader sends until it is done. Raises RankLost."""
    while (told := listen()) is not None:
        function, arguments = told
        function(*arguments)


def meet() -> None:
    """Wait for all ranks. Raises RankLost."""
    if size() > 1:
        with _raising_rank_lost():
            dist.all_reduce(torch.zeros(1))


# ---- a shared step


def share_of(batch_size: int) -> range:
    """Numbers of the items of a batch that this rank takes."""
    return range(batch_size * rank() // size(), batch_size * (rank() + 1) // size())


@contextmanager
def whole_batch(batch_size: int) -> Iterator[None]:
    """Within the block, which all ranks enter, sums and draws are those of one shared batch."""
    entered = _whole.set(batch_size if size() > 1 else None)
    try:
        yield
    finally:
        _whole.reset(entered)


def pooled(total: Tensor) -> Tensor:
    """Sum over the ranks of a sum over voxels or items; the gradient flows back to each rank's own."""
    summed: Tensor = total if _whole.get() is None else _Pooled.apply(total)  # type: ignore[no-untyped-call]
    return summed


def pooled_mean(values: Tensor) -> Tensor:
    """Mean over the values of all ranks."""
    if _whole.get() is None:
        return values.mean()
    return pooled(values.sum()) / pooled(torch.full((), values.numel(), device=values.device))


def draw_per_item(items: int, device: torch.device) -> Tensor:
    """(items,) uniform random numbers: those that a single process would draw for the items of this rank."""
    batch_size = _whole.get()
    if batch_size is None:
        return torch.rand(items, device=device)
    own = share_of(batch_size)
    return torch.rand(batch_size, device=device)[own.start : own.stop]


def add_gradients(network: nn.Module) -> None:
    """Replace each gradient of a network by its sum over the ranks, all in one message."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    if size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _raising_rank_lost():
        dist.all_reduce(flat)
    sums = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, added in zip(gradients, sums, strict=True):
        gradient.copy_(added.view(gradient.shape))


class _Pooled(torch.autograd.Function):
    """All-reduce. Every rank computes the same loss of the sum, so its gradient is that of each summand."""

    @staticmethod
    def forward(context: Any, total: Tensor) -> Tensor:
        summed = total.clone()
        with _raising_rank_lost():
            dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


@contextmanager
def _raising_rank_lost() -> Iterator[None]:
    """Raises RankLost in place of the errors of a lost connection."""
    try:
        yield
    except RuntimeError as fault:
        raise RankLost(f"rank {rank()} has lost another: {str(fault).split('. ')[0]}") from fault
