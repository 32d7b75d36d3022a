"""Parts of a training that ranks share."""

import os

import pytest
import torch

from kneeformer.workflows.shared_training import loader_processes


@pytest.mark.parametrize(
    ("device", "cores", "ranks", "processes"),
    [
        ("cpu", 64, "1", 0),
        ("cuda", 64, "1", 8),
        ("cuda", 32, "8", 4),
        ("cuda", 4, "1", 4),
        ("cuda", 2, "4", 1),
    ],
)
def test_ranks_share_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, ranks: str, processes: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert loader_processes(torch.device(device)) == processes
