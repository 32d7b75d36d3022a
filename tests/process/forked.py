"""Commands that begin with torch loaded, which takes a new interpreter seconds, and a fork none."""

import importlib
import multiprocessing
import os
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

SERVER = multiprocessing.get_context("forkserver")
# what takes long to load and survives a fork; an optimiser's first step loads torch._dynamo
LIBRARIES = (
    *("torch", "torch._dynamo", "scipy.ndimage", "scipy.spatial", "skimage.measure"),
    *("SimpleITK", "matplotlib.pyplot", "joblib.externals.loky"),
)
TASKS = ("segmentation", "masked_pretraining", "bone_completion")
OURS = ("kneeformer.workflows.train", *(f"kneeformer.tasks.{task}.task" for task in TASKS))
SERVER.set_forkserver_preload([*LIBRARIES, *OURS])


class Forked:
    """A console script in a process of its own; waited for and killed as a `subprocess.Popen` is."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.args = command
        self._said = [NamedTemporaryFile("r") for _ in range(2)]  # noqa: SIM115 - gone with this object
        files = [file.name for file in self._said]
        self._process = SERVER.Process(target=_run, args=(command, folder, environment, files))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said, when it has ended."""
        self._process.join(timeout)
        assert self.returncode is not None, f"{self.args}: still running after {timeout} s"
        out, err = (file.read() for file in self._said)
        return out, err


def _run(command: list[str], folder: Path, environment: dict[str, str], files: list[str]) -> None:
    for stream, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY), stream)
    os.fsync = lambda _: None  # as in conftest.py: kills lose nothing that was written, only power cuts do
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = command
    importlib.import_module(f"kneeformer.cli.{command[0].removeprefix('kf_')}").main()
