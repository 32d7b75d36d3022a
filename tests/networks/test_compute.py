"""Which device networks run on, and how items share the threads of a CPU."""

from typing import Any

import pytest
import torch
from torch import nn

from kneeformer.errors import KneeformerError
from kneeformer.networks.compute import (
    choose_device,
    multiplies_bfloat16_quickly,
    refuse_wrong_convolutions,
    side_by_side,
    to_device,
)

CPU = torch.device("cpu")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_the_best_device_is_taken_unless_it_does_not_serve(mac: None) -> None:
    assert choose_device().type == "mps"
    assert choose_device(float64=True).type == "cpu"


def test_a_device_without_double_precision_is_refused_where_it_is_needed(mac: None) -> None:
    assert choose_device("mps").type == "mps"
    with pytest.raises(KneeformerError, match="use cpu"):
        choose_device("mps", float64=True)


def test_a_device_that_is_not_there_is_refused(mac: None) -> None:
    with pytest.raises(KneeformerError, match="this machine has mps, cpu"):
        choose_device("cuda:1")


def test_a_cpu_convolves_as_itself_in_either_layout() -> None:
    refuse_wrong_convolutions(torch.device("cpu"))


@pytest.mark.parametrize(
    ("vendor", "flags", "quick"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512_bf16", True),
        ("GenuineIntel", "avx2 avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("GenuineIntel", "avx2 avx512f avx512_bf16", False),  # a virtual machine without AMX
        ("GenuineIntel", "avx2 avx512f avx512_vnni", False),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_half_precision_is_for_processors_that_multiply_it_faster(
    vendor: str, flags: str, quick: bool
) -> None:
    one = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags}\nbogomips\t: 4600.0\n\n"
    assert multiplies_bfloat16_quickly(one * 2) == quick


def test_processors_that_are_no_x86_are_taken_as_pytorch_has_them() -> None:
    assert multiplies_bfloat16_quickly("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert multiplies_bfloat16_quickly("")


def squared(number: int) -> tuple[int, int]:
    return number * number, torch.get_num_threads()


@pytest.mark.parametrize("threads", [1, 4])
def test_items_are_computed_side_by_side_each_by_its_share_of_the_threads(threads: int) -> None:
    """In their order; where one fails, the threads are given back too."""
    before, seen = torch.get_num_threads(), list[tuple[int, int]]()
    try:
        torch.set_num_threads(threads)
        made = side_by_side(squared, range(5), CPU, lambda *at: seen.append(at))
        pairs = side_by_side(lambda n: torch.get_num_threads(), range(5), CPU, at_a_time=2)
        assert torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda n: 1 // n, [1, 0], CPU)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made == [(n * n, 1) for n in range(5)] and seen == [(n, 5) for n in range(1, 6)]
    assert pairs == [max(1, threads // 2)] * 5
    assert side_by_side(abs, [], CPU) == []


class Anywhere(nn.Linear):
    """A network that is said to be on CUDA."""

    def to(self, *_: Any, **__: Any) -> "Anywhere":
        return self


def test_products_of_matrices_keep_all_digits_on_cuda() -> None:
    """In TF32 a rotation moves a point 200 mm away by 0.1 mm, and SSIM is wrong in its third digit."""
    to_device(Anywhere(1, 1), torch.device("cuda"))
    assert not torch.backends.cuda.matmul.allow_tf32
