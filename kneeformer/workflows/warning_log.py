"""Warnings that kneeformer logs, kept in warnings.log beside the results that they concern."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kneeformer.data.files import write_bytes
from kneeformer.engine.log import note

WARNINGS = "warnings.log"

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", re.MULTILINE)


@contextmanager
def passing_warnings_to(take: Callable[[str], None]) -> Iterator[None]:
    """Also pass each warning that kneeformer logs in this block to a function."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: take(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("kneeformer")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def keeping_warnings(folder: Path) -> Iterator[Callable[[], None]]:
    """Append the warnings of this block, with date and time, to warnings.log in a folder.

    Yields a function that removes the earlier warnings, to call when their results are removed.

    Raises:
        DiskError: the disk is full or fails.
    """
    file = folder / WARNINGS
    earlier = file.stat().st_size if file.is_file() else 0

    def forget_earlier() -> None:
        if earlier and (since := file.read_bytes()[earlier:]):
            write_bytes(file, since)
        elif earlier:
            file.unlink()

    with passing_warnings_to(lambda text: note(folder, text, WARNINGS)):
        yield forget_earlier


def kept_warnings(folder: Path) -> list[str]:
    """The distinct warnings in a folder's warnings.log, in order; none without the file."""
    file = folder / WARNINGS
    if not file.is_file():
        return []
    _, *texts = _STAMP.split(file.read_text(encoding="utf-8", errors="replace"))
    return list(dict.fromkeys(text.strip() for text in texts))
