"""Some hundred damaged dataset.json, plans, records, checkpoints: no traceback, no pickle run, no misreading.

Thousands: tests/benchmarks/state_fuzz.py.
"""

from pathlib import Path

import pytest
import torch
from state_fuzz import (
    fuzz_checkpoints,
    fuzz_descriptions,
    fuzz_pickles,
    fuzz_plan_files,
    fuzz_plans,
    fuzz_runs,
    fuzz_settings,
)
from test_plan import content, plan
from test_plan_ranges import bones

from kneeformer.workflows.fold_folder import write_run
from kneeformer.workflows.request import Request


def test_damaged_descriptions_of_datasets(tmp_path: Path) -> None:
    found = fuzz_descriptions(tmp_path, 600, seed=1)
    print(found)
    assert found["accepted"] > 10 and found["refused"] > 500 and found.total() == 600


@pytest.mark.parametrize("content", [content(), bones()], ids=["crops", "bones"])
def test_damaged_plans(content: dict[str, object]) -> None:
    found = fuzz_plans(content, 100, seed=1)
    assert found["refused"] > 50 and found.total() == 100


def test_odd_settings() -> None:
    assert fuzz_settings(plan(), "3d_vit", 100, seed=1)["refused"] > 50


def test_damaged_plan_files(tmp_path: Path) -> None:
    assert fuzz_plan_files(plan(), tmp_path, 100, seed=1)["refused"] > 50


def test_damaged_records(tmp_path: Path) -> None:
    write_run(tmp_path, plan(), Request("Dataset001_Knee", "3d_vit", 0), torch.device("cpu"), None)
    assert fuzz_runs(tmp_path, 100, seed=1)["refused"] > 50


def test_damaged_checkpoints(tmp_path: Path) -> None:
    assert fuzz_checkpoints(tmp_path, 100, seed=1)["refused"] > 30


def test_no_pickle_is_run(tmp_path: Path) -> None:
    assert fuzz_pickles(tmp_path, 20, seed=1) == {"refused": 20}
