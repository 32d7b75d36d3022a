"""Predictions that another call has left in the output folder: which are not of this one."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from kneeformer.data.dataset import Case
from kneeformer.errors import first_few
from kneeformer.workflows.outputs import output_files

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


def warn_of_others(cases: Sequence[Case], output: Path, outputs: Sequence[str], ending: str) -> None:
    """Warn of files of none of the cases, in a folder into which another model has predicted.

    Args:
        outputs: suffixes of all files that may be written of a case.
    """
    known = {file for case in cases for file in output_files(case.name, outputs, ending)}
    known |= {file.name for case in cases for file in case.files}  # the folder may hold the scans too
    others = sorted(file.name for file in output.glob(f"*{ending}") if file.name not in known)
    if others:
        _log.warning(
            "%s: files of another model, not of these scans: %s; remove them, or give another folder with -o",
            output,
            first_few(others, 10),
        )
