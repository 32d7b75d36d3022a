"""training_log.jsonl goes on where a killed training goes on."""

import json
from pathlib import Path

import pytest

from kneeformer.engine.log import TrainingLog, read_log


def write(file: Path, *steps: int, after: int = 0) -> None:
    log = TrainingLog(file, after)
    for step in steps:
        log.write({"step": step, "loss": 1 / step, "learning_rate": 0.1})
    log.close()


def steps(file: Path) -> list[int]:
    return [line["step"] for line in read_log(file)]


def test_lines_are_on_disk_as_they_happen(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", 0)
    log.write({"step": 1, "loss": 0.5})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 1, "loss": 0.5}
    log.close()


def test_going_on_drops_the_steps_that_were_lost(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    write(file, 1, 2, 3, 4, 5)
    write(file, 4, 5, 6, after=3)
    assert steps(file) == [1, 2, 3, 4, 5, 6]


def test_a_fresh_start_empties_the_log(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    write(file, 1, 2, 3)
    write(file, 1)
    assert steps(file) == [1]


def test_a_line_cut_short_by_a_kill_is_left_out_and_gone_after_going_on(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    write(file, 1, 2, 3)
    with file.open("a") as handle:
        handle.write('{"step": 4, "lo')
    assert steps(file) == [1, 2, 3]
    write(file, 4, 5, after=3)
    assert steps(file) == [1, 2, 3, 4, 5]
    assert len(file.read_text().splitlines()) == 5


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    "line",
    ['{"step": 2, "lo', "3", "[]", '{"step": "two", "loss": 1}', '{"step": 2}', "\udcff", "[" * 100_000],
)
def test_a_damaged_line_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    file = tmp_path / "log.jsonl"
    write(file, 1)
    first = file.read_bytes()
    write(file, 3)
    file.write_bytes(first + line.encode("utf-8", "surrogateescape") + b"\n" + file.read_bytes())
    assert steps(file) == [1, 3]
    assert caplog.messages == [f"{file}: 1 lines are damaged and left out, the first is line 2"]
    write(file, 4, after=3)
    assert steps(file) == [1, 3, 4] and len(file.read_text().splitlines()) == 3
