"""Two commands at once in one folder take turns, and the next one clears what a killed one left."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from kneeformer.data.files import unfinished
from kneeformer.workflows.folder_lock import one_at_a_time


def test_the_second_waits_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun, order = Event(), []

    def second() -> None:
        begun.set()
        with one_at_a_time(tmp_path, "kf_plan"):
            order.append("second")

    with ThreadPoolExecutor(1) as threads, caplog.at_level(logging.WARNING):
        with one_at_a_time(tmp_path, "kf_plan"):
            waiting = threads.submit(second)
            begun.wait()
            while "another kf_plan works here; waiting for it" not in caplog.text:
                assert not waiting.done()
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]


def test_what_a_killed_command_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    left = unfinished(tmp_path / "K01.b2nd")
    left.touch()
    for name in ("K01.b2nd", ".hidden", "notes.unfinished"):
        (tmp_path / name).touch()
    for below in ("labels", "poses"):
        (tmp_path / below).mkdir()
        unfinished(tmp_path / below / "K01.b2nd").touch()
    with one_at_a_time(tmp_path, "kf_preprocess", ("labels",)):
        writing = unfinished(tmp_path / "K01.json")
        writing.touch()
    assert {p.name for p in tmp_path.iterdir()} - {".lock"} == {
        *("K01.b2nd", ".hidden", "notes.unfinished", writing.name, "labels", "poses")
    }
    assert not any((tmp_path / "labels").iterdir()) and any((tmp_path / "poses").iterdir())


def test_a_fault_lets_the_next_one_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fault"), one_at_a_time(tmp_path, "kf_plan"):
        raise ValueError("fault")
    with one_at_a_time(tmp_path, "kf_plan"):
        pass
