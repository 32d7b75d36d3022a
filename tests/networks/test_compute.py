"""Which device networks run on, and how items share the threads of a CPU."""

import pytest
import torch

from kneeformer.errors import KneeformerError
from kneeformer.networks.compute import choose_device, refuse_wrong_convolutions, side_by_side


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


@pytest.mark.parametrize("threads", [1, 3])
def test_items_are_computed_side_by_side_each_by_its_share_of_the_threads(threads: int) -> None:
    before, seen = torch.get_num_threads(), dict[int, int]()
    try:
        torch.set_num_threads(threads)
        side_by_side(lambda n: seen.update({n: torch.get_num_threads()}), range(5), torch.device("cpu"))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen == dict.fromkeys(range(5), 1)


def test_a_fault_of_one_item_is_raised_and_the_threads_are_given_back() -> None:
    before, seen = torch.get_num_threads(), list[int]()
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda n: seen.append(1 // n), [1, 0], torch.device("cpu"))
    assert torch.get_num_threads() == before
