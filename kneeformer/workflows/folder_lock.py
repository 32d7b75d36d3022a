"""A lock on a folder, for commands that may be started twice. Needs no torch."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kneeformer.data.files import clear_unfinished


@contextmanager
def one_at_a_time(folder: Path, command: str, below: Sequence[str] = ()) -> Iterator[None]:
    """Wait until no other process works in a folder; then remove the unfinished files of killed ones.

    The system releases the lock when the process ends, also if it is killed.

    Args:
        below: names of subfolders that the command writes in as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logging.getLogger(__name__).warning("%s: another %s works here; waiting for it", folder, command)
        lock.acquire()
    try:
        for each in (folder, *(folder / name for name in below)):
            clear_unfinished(each)
        yield
    finally:
        lock.release()
