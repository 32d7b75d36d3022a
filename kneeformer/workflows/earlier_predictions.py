"""Predictions that another call has left in the output folder: which are not of this one."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from kneeformer.data.dataset import Case
from kneeformer.errors import first_few

_log = logging.getLogger(__name__)


def earlier_predictions(cases: Sequence[Case], output: Path, ending: str) -> dict[Path, int]:
    """The predictions of these cases that exist, with the time in ns at which each was written."""
    files = [output / f"{case.name}{ending}" for case in cases]
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}


def warn_of_kept(earlier: Mapping[Path, int], output: Path) -> None:
    """Warn of predictions that were not replaced, because their cases could not be predicted."""
    kept = [
        file.name
        for file, written in earlier.items()
        if file.is_file() and file.stat().st_mtime_ns == written
    ]
    if kept:
        _log.warning(
            "%s: earlier predictions of cases that could not be predicted now: %s; remove them",
            output,
            first_few(kept, 10),
        )


def warn_of_others(output: Path, ending: str, files_of_cases: set[str]) -> None:
    """Warn of files of none of the cases, in a folder into which another model has predicted.

    Args:
        files_of_cases: names of all files that may be written of the cases.
    """
    others = sorted(
        file.name for file in output.glob(f"*{ending}") if file.name not in files_of_cases and file.is_file()
    )
    if others:
        _log.warning(
            "%s: files of another model, not of these scans: %s; remove them, or give another folder with -o",
            output,
            first_few(others, 10),
        )
