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
    """The device named ("cpu", "cuda", "cuda:1", "mps"), or the best there is.

    Args:
        float64: computes in double precision, which Apple's MPS does not.

    Raises:
        KneeformerError: this machine has none of that name, or it does not serve.
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
    """True where bfloat16 is quicker than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return (
        device.type == "cpu"
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and multiplies_bfloat16_quickly(_processor())
    )


def multiplies_bfloat16_quickly(cpuinfo: str) -> bool:
    """True where a processor multiplies bfloat16 faster than float32, as its Linux /proc/cpuinfo tells.

    PyTorch supports bfloat16 on every x86 with AVX-512. Without AVX512-BF16 a convolution takes four times as
    long as in float32, and on Intel with it, but without AMX, nearly twice.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    facts = {name.strip(): value.split() for name, _, value in lines}
    flags = facts.get("flags")  # of x86 alone
    if flags is None or "amx_bf16" in flags:
        return True
    return "avx512_bf16" in flags and facts.get("vendor_id") == ["AuthenticAMD"]


@cache
def _processor() -> str:
    """Return what Linux says of the processor; empty elsewhere."""
    file = Path("/proc/cpuinfo")
    return file.read_text(errors="replace") if file.is_file() else ""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Context in which a network computes; "auto" is bfloat16 where it helps."""
    half = precision == "bf16" or (precision == "auto" and half_precision_helps(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network to its device, channels last: convolutions then run 1.2 to 2 x faster on a CPU.

    On CUDA convolutions may be in TF32, but no product of matrices: where a network is not in bfloat16, these
    are of what needs all digits, as positions in mm, distances by products, and variances of SSIM.

    Raises:
        KneeformerError: the device is Apple's MPS, and convolves wrongly.
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
    """Compare 3D convolutions with those of the CPU. Versions of MPS return other values without a word.

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
        if not torch.allclose(found, expected, atol=0.05):  # of a standard deviation of 15
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
    """`[make(item) for item in items]`; on a CPU several at once, each by its share of torch's threads.

    A thread that has an item to itself keeps it in its cache, and waits for no other after each layer.

    Args:
        at_a_time: how many at most, where each takes much memory; by default as many as there are threads.
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
