"""Which device networks run on."""

import pytest
import torch

from kneeformer.errors import KneeformerError
from kneeformer.networks.compute import choose_device


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
