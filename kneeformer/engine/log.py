"""Logs of a training: training_log.jsonl, a line per step and per epoch, continuous across kills; and
training.log, what happened and when, as text.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

from kneeformer.data.disk import DiskError, in_words
from kneeformer.data.files import write_text

Line = dict[str, Any]
TEXT = "training.log"


class TrainingLog:
    """Appends a line per step and epoch; resuming from a step drops the lines after it."""

    def __init__(self, file: Path, last_step: int) -> None:
        """Open the log of a training that resumes after `last_step` (0: from the start)."""
        self.file = file
        kept = [line for line in read_log(file) if line["step"] <= last_step] if last_step else []
        write_text(file, "".join(json.dumps(line) + "\n" for line in kept))
        self._handle = file.open("a", encoding="utf-8")

    def write(self, line: Line) -> None:
        """Append a line; it must have a "step". Raises DiskError."""
        try:
            self._handle.write(json.dumps(line) + "\n")
            self._handle.flush()
        except OSError as fault:
            raise DiskError(in_words(fault, self.file)) from fault

    def close(self) -> None:
        self._handle.close()


def read_log(file: Path) -> list[Line]:
    """The whole lines of a log. A missing log is empty.

    A last line cut short by a kill is left out; so are other damaged ones, with a warning.
    """
    if not file.is_file():
        return []
    texts = file.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [_parsed(text) for text in texts]
    if damaged := [number for number, line in enumerate(found[:-1], 1) if line is None]:
        logging.getLogger(__name__).warning(
            "%s: %d lines are damaged and left out, the first is line %d", file, len(damaged), damaged[0]
        )
    return [line for line in found if line is not None]


def note(folder: Path, text: str, name: str = TEXT) -> None:
    """Append a line with date and time to a folder's training.log, or to another log. Raises DiskError."""
    file = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
    except OSError as fault:
        raise DiskError(in_words(fault, file)) from fault


def _parsed(text: str) -> Line | None:
    """A line of a step or of an epoch, as `TrainingLog` wrote it; None where it is damaged."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
        return None
    scores = line.get("scores", {})
    numbers = [line.get(key, 0.0) for key in ("loss", "learning_rate", "validation_loss")]
    whole = isinstance(scores, dict) and all(isinstance(n, int | float) for n in (*numbers, *scores.values()))
    known = {"loss", "learning_rate"} <= line.keys() or {"validation_loss", "scores"} <= line.keys()
    return line if whole and known else None
