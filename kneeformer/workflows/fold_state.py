"""State of a fold's training, read from its folder, and the command that resumes it. Needs no torch."""

import shlex
from enum import Enum, auto
from pathlib import Path

from kneeformer.paths import FINAL, LATEST
from kneeformer.workflows.request import Request

RUN = "run.json"  # written last when a training begins: its presence means that a training can be resumed


class FoldState(Enum):
    """BEGUN: stopped before its first checkpoint, starts again. STOPPED: resumes from its last checkpoint."""

    UNTOUCHED = auto()
    BEGUN = auto()
    STOPPED = auto()
    TRAINED = auto()

    @classmethod
    def of(cls, folder: Path) -> "FoldState":
        if (folder / FINAL).is_file():
            return cls.TRAINED
        if not (folder / RUN).is_file():
            return cls.UNTOUCHED
        return cls.STOPPED if (folder / LATEST).is_file() else cls.BEGUN


def resume_command(folder: Path, request: Request, since: float, typed: list[str]) -> tuple[str, list[str]]:
    """Return what is kept of a stopped training, and the command that resumes it.

    Args:
        since: when the command began; with --overwrite, what is older belongs to an earlier training.
        typed: words of the stopped command.
    """
    run = folder / RUN
    own = not request.overwrite or (run.is_file() and run.stat().st_mtime >= since)
    state = FoldState.of(folder) if own else FoldState.UNTOUCHED
    devices = [] if request.device is None else ["-device", request.device]
    devices += [] if request.num_gpus == 1 else ["-num_gpus", str(request.num_gpus)]
    if state is FoldState.TRAINED:
        return "the fold is trained; its validation is not finished", _words(request, "--val", *devices)
    if state is FoldState.STOPPED:
        return "the training up to its last checkpoint", _words(request, "--c", *devices)
    return "previous stages that are trained; this one starts again", typed


def _words(request: Request, *flags: str) -> list[str]:
    return shlex.split(request.command(*flags))
