"""A place with the three folders of the convention, in which the real commands run as real processes."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from forked import Forked

from kneeformer.geometry.grid import Grid

SCRIPTS = Path(sys.executable).parent
NAME = "Dataset001_Knee"
# Thick slices, small enough for steps of some hundredths of a second.
SHAPE, SPACING_MM = (6, 32, 32), (14.0, 3.75, 3.75)

# A network and a schedule of seconds: 2 epochs of 4 steps.
TINY = (
    *("--set", "network.depth=1", "--set", "training.steps_per_epoch=4", "--set", "training.warmup_steps=2"),
    *("--set", "training.validation_crops=4", "--epochs", "2"),
)


@dataclass(frozen=True)
class Workplace:
    """Folders `raw`, `preprocessed` and `results` under one root."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw" / NAME

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / NAME

    @property
    def model(self) -> Path:
        return self.root / "results" / NAME / "kfPlans__3d_vit"

    def copy(self, root: Path) -> "Workplace":
        shutil.copytree(self.root, root)
        return Workplace(root)

    def start(self, *command: object) -> Forked:
        """A command on its way, in this place; its output is kept for `finish`."""
        folders = {f"kf_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")}
        return Forked(list(map(str, command)), self.root, folders)

    def run(self, *command: object, code: int = 0) -> str:
        """Run a console script to its end; what it printed. Its exit status must be `code`."""
        return finish(self.start(*command), code)

    def kill_when(self, condition: Callable[[], bool], *command: object) -> None:
        """Start a script and SIGKILL it as soon as `condition` is true; it leaves no process behind."""
        process = self.start(*command)
        try:
            wait_for(lambda: process.poll() is not None or condition())
            assert process.poll() is None, f"{process.args}: ended before it could be killed"
            children = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
            print(*process.communicate(), sep="\n")  # pytest shows it where a test fails
        wait_for(lambda: all(not c.is_running() or c.status() == psutil.STATUS_ZOMBIE for c in children))


def finish(process: "subprocess.Popen[str] | Forked", code: int = 0) -> str:
    """Wait for a script; a fault is told in words, never as a traceback."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == code, f"{process.args}: {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Return as soon as `condition` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def same_place(one: Grid, other: Grid, cosine_tolerance: float = 1e-15) -> bool:
    """Equal to the last digit, in which the product of spacing and cosines in an NRRD file may round."""
    return (
        one.shape == other.shape
        and np.allclose(one.spacing, other.spacing, rtol=1e-15, atol=0)
        and one.origin == other.origin
        and np.allclose(one.direction, other.direction, rtol=0, atol=cosine_tolerance)
    )


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def log_lines(fold: Path) -> list[dict[str, Any]]:
    """training_log.jsonl; a line that is being written is left out."""
    file = fold / "training_log.jsonl"
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def losses(fold: Path) -> list[float]:
    """The loss of each step; the steps must be 1, 2, 3, ... without a gap or a repetition."""
    steps = [line for line in log_lines(fold) if "loss" in line]
    assert [s["step"] for s in steps] == list(range(1, len(steps) + 1))
    return [s["loss"] for s in steps]
