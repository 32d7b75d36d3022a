"""Device, number format and memory layout in which networks run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from kneeformer.errors import KneeformerError

Precision = Literal["auto", "bf16", "fp32"]
Network = TypeVar("Network", bound=nn.Module)
Given = TypeVar("Given")
Made = TypeVar("Made")


def choose_device(name: str | None = None, float64: bool = False) -> torch.device:
    """The device named ("cpu", "cuda", "cuda:1", "mps"), or the best one of this machine.

    Args:
        float64: double precision is needed, which Apple's MPS does not have.

    Raises:
        KneeformerError: this machine has no device of that name, or it cannot be used.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if float64:
        available["mps"] = False
        if name == "mps":
            raise KneeformerError(
                "-device mps: poses of bones need double precision, which it lacks; use cpu"
            )
    if name is None:
        return torch.device(next(kind for kind, there in available.items() if there))
    kind = name.split(":")[0]
    if not available.get(kind, False):
        there = ", ".join(k for k, v in available.items() if v)
        raise KneeformerError(f"-device {name}: not available here; this machine has {there}")
    return torch.device(name)


def half_precision_helps(device: torch.device) -> bool:
    """True where bfloat16 is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return (
        device.type == "cpu"
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and multiplies_bfloat16_quickly(_processor())
    )


def multiplies_bfloat16_quickly(cpuinfo: str) -> bool:
    """True where a processor multiplies bfloat16 faster than float32, read from Linux's /proc/cpuinfo.

    PyTorch supports bfloat16 on every x86 with AVX-512. Without AVX512-BF16 a convolution takes four times as
    long as in float32, and on Intel with it, but without AMX, nearly twice.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    facts = {name.strip(): value.split() for name, _, value in lines}
    flags = facts.get("flags")  # x86 only
    if flags is None or "amx_bf16" in flags:
        return True
    return "avx512_bf16" in flags and facts.get("vendor_id") == ["AuthenticAMD"]


@cache
def _processor() -> str:
    """Return what Linux says about the processor; empty on other systems."""
    file = Path("/proc/cpuinfo")
    return file.read_text(errors="replace") if file.is_file() else ""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Context in which a network computes; "auto" is bfloat16 where it helps."""
    half = precision == "bf16" or (precision == "auto" and half_precision_helps(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network to its device, channels last: convolutions then run 1.2 to 2 x faster on a CPU.

    On CUDA convolutions may be in TF32, but no product of matrices: where a network is not in bfloat16, they
    compute what needs full precision: positions in mm, distances from products, and the variances of SSIM.

    Raises:
        KneeformerError: the device is Apple's MPS and its convolutions are wrong.
    """
    if device.type == "mps":
        refuse_wrong_convolutions(device)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    network.to(device)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if (layout := layouts.get(parameter.ndim)) is not None:
            parameter.data = parameter.data.to(memory_format=layout)
    return network


def refuse_wrong_convolutions(device: torch.device) -> None:
    """Compare 3D convolutions with those of the CPU: some versions of MPS silently return wrong values.

    https://github.com/pytorch/pytorch/issues/141471 (channels last) and 197114 (contiguous).

    Raises:
        KneeformerError: they differ by more than rounding.
    """
    generator = torch.Generator().manual_seed(0)
    image, weight = (torch.randn(shape, generator=generator) for shape in ((1, 8, 8, 8, 8), (16, 8, 3, 3, 3)))
    expected = nn.functional.conv3d(image, weight, padding=1)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        image, weight = (part.to(device).contiguous(memory_format=layout) for part in (image, weight))
        found = nn.functional.conv3d(image, weight, padding=1).cpu()
        if not torch.allclose(found, expected, atol=0.05):  # the values' standard deviation is 15
            raise KneeformerError(
                f"-device {device}: this version of PyTorch or of the system computes wrong 3D convolutions; "
                f"update them, or use -device cpu"
            )


def side_by_side(
    make: Callable[[Given], Made],
    items: Sequence[Given],
    device: torch.device,
    watch: Callable[[int, int], None] = lambda done, of: None,
    at_a_time: int | None = None,
) -> list[Made]:
    """`[make(item) for item in items]`; on a CPU several at once, each with its share of torch's threads.

    A thread with an item of its own keeps it in its cache and does not wait for others after each layer.

    Args:
        at_a_time: limit where each item takes much memory; by default the number of threads.
    """
    threads = torch.get_num_threads()
    workers = max(1, min(threads, len(items), at_a_time or threads)) if device.type == "cpu" else 1
    share = partial(torch.set_num_threads, threads // workers)
    made: list[Made] = []
    try:
        with ThreadPoolExecutor(workers, initializer=share) as pool:
            for one in pool.map(make, items):
                made.append(one)
                watch(len(made), len(items))
    finally:
        torch.set_num_threads(threads)
    return made
