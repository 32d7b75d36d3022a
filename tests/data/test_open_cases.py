"""Stored cases that stay open, on files that are really there."""

from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.open_cases import OpenCases
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.errors import KneeformerError

SHAPE = (2, 3, 4)
RECORD = CaseRecord(
    origin=Origin(settings="", files=""), shape=SHAPE, spacing=(1, 1, 1), orientation="SPL", points={}
)


@pytest.fixture
def cases(tmp_path: Path) -> list[Path]:
    """Six cases; every voxel of a case is its number."""
    for number in range(6):
        image = np.full((1, *SHAPE), number, np.float32)
        save_case(tmp_path, str(number), image, np.zeros(SHAPE, np.uint8), RECORD, SHAPE)
    return [tmp_path / str(number) for number in range(6)]


def test_however_many_cases_are_read_few_are_open(cases: list[Path]) -> None:
    opened = OpenCases(at_a_time=2)
    for _ in range(2):
        for number, case in enumerate(cases):
            assert opened[case].image[0, 0, 0, 0] == number
            assert len(opened) <= 2


def test_the_case_that_was_used_last_stays_open(cases: list[Path]) -> None:
    opened = OpenCases(at_a_time=2)
    first, second = opened[cases[0]], opened[cases[1]]
    assert opened[cases[0]] is first
    _ = opened[cases[2]]
    assert opened[cases[0]] is first
    assert opened[cases[1]] is not second


def test_a_case_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="K01"):
        _ = OpenCases()[tmp_path / "K01"]
