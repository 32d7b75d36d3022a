"""kill -9 at bad moments: nothing half-written is taken for whole, and the same command goes on."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from workplace import TINY, Workplace, finish, log_lines, losses, wait_for

from kneeformer.data.images import read_image
from kneeformer.data.storage import CaseRecord, open_case
from kneeformer.engine.checkpoint import load_checkpoint
from kneeformer.workflows.fold_state import FoldState

PREPROCESS = ("kf_preprocess", "-d", 1, "-c", "3d_vit", "-np", 1)
TRAIN = ("kf_train", 1, "3d_vit", "0")
COURSE = (*TINY, "--epochs", 6, "--seed", 5)
PREPARED = [*(f"phantom_{i:02d}" for i in range(1, 7)), "phantom_10"]

Content = tuple[CaseRecord, bytes, bytes | None]


@pytest.fixture
def slow(fresh: Workplace) -> Workplace:
    """Planned for a grid so fine that preparing a case takes a while; nothing is prepared."""
    shutil.rmtree(fresh.preprocessed / "3d_vit")
    file = fresh.preprocessed / "kfPlans.json"
    plan = json.loads(file.read_text())
    plan["configurations"]["3d_vit"]["preprocessing"]["spacing"] = [7.0, 0.5, 0.5]
    file.write_text(json.dumps(plan))
    return fresh


def finished(place: Workplace) -> dict[str, int]:
    """Prepared cases that have their record, and when it was written."""
    return {p.stem: p.stat().st_mtime_ns for p in (place.preprocessed / "3d_vit").glob("[!.]*.json")}


def contents(place: Workplace, names: list[str]) -> dict[str, Content]:
    cases = {name: open_case(place.preprocessed / "3d_vit", name) for name in names}
    return {
        n: (c.record, c.image[:].tobytes(), None if c.labels is None else c.labels[:].tobytes())
        for n, c in cases.items()
    }


def test_killed_preprocessing(slow: Workplace, tmp_path: Path) -> None:
    whole = slow.copy(tmp_path / "whole")
    whole.run(*PREPROCESS)
    wanted = contents(whole, PREPARED)
    kept: dict[str, int] = {}
    for records in (1, 4):
        slow.kill_when(lambda n=records: len(finished(slow)) >= n, *PREPROCESS)
        done = finished(slow)
        assert len(done) < len(PREPARED)
        assert kept.items() <= done.items(), "finished cases are not made again"
        assert contents(slow, list(done)) == {name: wanted[name] for name in done}
        kept = done
    slow.run(*PREPROCESS)
    assert kept.items() <= finished(slow).items()
    assert contents(slow, PREPARED) == wanted


def test_killed_worker_names_its_case(slow: Workplace) -> None:
    process = slow.start(*PREPROCESS)
    wait_for(lambda: bool(finished(slow)))
    workers = [
        c
        for c in psutil.Process(process.pid).children(recursive=True)
        if any("popen_loky" in part for part in c.cmdline())
    ]
    wait_for(lambda: any((slow.preprocessed / "3d_vit").glob(".*.unfinished*")))  # it is at work on a case
    workers[0].send_signal(signal.SIGKILL)
    said = finish(process, code=1)
    (line,) = [line for line in said.splitlines() if "was killed (SIGKILL)" in line]
    assert any(name in line for name in PREPARED)
    assert "-np" in line
    assert len(finished(slow)) == len(PREPARED) - 1, "the other cases are done"
    assert ": 1 cases made" in slow.run(*PREPROCESS)


def test_killed_training_goes_on_as_if_nothing_had_been(fresh: Workplace, tmp_path: Path) -> None:
    whole = fresh.copy(tmp_path / "whole")
    whole.run(*TRAIN, *COURSE)
    fold, options = fresh.model / "fold_0", COURSE
    rng = np.random.default_rng()
    # lines of the log: before the first checkpoint, then later, and later
    moments = [int(rng.integers(low, low + 4)) for low in (1, 9, 17)]
    print(f"killed at {moments}")
    for lines in moments:
        fresh.kill_when(lambda n=lines: len(log_lines(fold)) >= n, *TRAIN, *options)
        for checkpoint in fold.glob("checkpoint_*.pt"):
            load_checkpoint(checkpoint)
        options = ("--c",)
    fresh.kill_when(lambda: any(fold.glob(".*.unfinished.checkpoint_latest.pt")), *TRAIN, "--c")
    fresh.kill_when(lambda: any((fold / "validation").glob("[!.]*.nrrd")), *TRAIN, "--c")
    assert not (fold / "validation" / "summary.json").is_file()
    fresh.run(*TRAIN, "--c")
    assert len(losses(fold)) == 24
    assert course(fold) == course(whole.model / "fold_0")
    assert (fold / "validation" / "summary.json").is_file()


def course(fold: Path) -> list[dict[str, Any]]:
    """The log without its clock."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in log_lines(fold)]


def test_going_on_may_change_the_schedule_but_not_the_network(fresh: Workplace) -> None:
    fold = fresh.model / "fold_0"
    fresh.kill_when(lambda: len(log_lines(fold)) > 5, *TRAIN, *COURSE)
    assert "the network" in fresh.run(*TRAIN, "--c", "--set", "network.depth=2", code=1)
    fresh.run(*TRAIN, "--c", "--epochs", 2)
    assert len(losses(fold)) == 8
    run = json.loads((fold / "run.json").read_text())
    assert run["seed"] == 5
    assert "training.epochs=2" in run["set"]


def test_a_finished_training_that_goes_on_is_unfinished_until_it_ends(
    trained: Workplace, tmp_path: Path
) -> None:
    """Else its earlier weights, and their scores, would be taken for those of the longer training."""
    place = trained.copy(tmp_path / "place")
    fold = place.model / "fold_0"
    place.kill_when(lambda: len(log_lines(fold)) > 12, *TRAIN, "--c", "--epochs", 500)
    assert FoldState.of(fold) is FoldState.STOPPED and not (fold / "validation").exists()
    place.run(*TRAIN, "--c", "--epochs", 3)
    assert FoldState.of(fold) is FoldState.TRAINED and (fold / "validation" / "summary.json").is_file()


def test_killed_prediction(trained: Workplace, many_inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    predict = ("kf_predict", "-i", many_inputs, "-o", output, "-d", 1, "--continue_prediction")
    names = {f"knee{i:02d}" for i in range(12)}

    def written() -> dict[str, int]:
        return {p.stem: p.stat().st_mtime_ns for p in output.glob("[!.]*.nrrd")}

    kept: dict[str, int] = {}
    for count in (1, 5):
        trained.kill_when(lambda n=count: len(written()) >= n, *predict)
        for name in written():
            read_image(output / f"{name}.nrrd")
        assert kept.items() <= written().items()
        kept = written()
        assert set(kept) < names
    trained.run(*predict)
    assert kept.items() <= written().items()
    assert set(written()) == names
    for i in range(3, 12):  # every third input is the same image
        found, same = (read_image(output / f"knee{n:02d}.nrrd") for n in (i, i % 3))
        assert found.grid == same.grid
        assert np.array_equal(found.array, same.array)


def test_parts_share_the_work(trained: Workplace, many_inputs: Path, tmp_path: Path) -> None:
    shares = []
    for part in range(2):
        output = tmp_path / f"part{part}"
        trained.run(
            *("kf_predict", "-i", many_inputs, "-o", output, "-d", 1, "-f", 0),
            *("--disable_tta", "-num_parts", 2, "-part_id", part),
        )
        shares.append({p.stem for p in output.glob("[!.]*.nrrd")})
    assert sorted(name for share in shares for name in share) == [f"knee{i:02d}" for i in range(12)]
    assert {len(share) for share in shares} == {6}
