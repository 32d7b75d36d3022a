"""The one exception a user is meant to read, and the words of messages."""

import re
from collections.abc import Sequence


class KneeformerError(Exception):
    """A fault that a user can fix. Its text names the file, what is wrong with it and what to do.

    The command line prints the text alone, without a traceback, and exits with status 1. Anything
    else that escapes is a bug in kneeformer and keeps its traceback.
    """


class WorkStopped(KneeformerError):
    """A fault that stops unfinished work; the command line adds how to resume it."""


def one_line(fault: Exception) -> str:
    """Describe a fault in one line: the text of a KneeformerError, else type and text."""
    if isinstance(fault, KneeformerError):
        return str(fault)
    if is_memory_short(fault):
        return "not enough memory"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror if fault.filename is None else f"{fault.strerror}: {fault.filename}"
    return f"{type(fault).__name__}: {' '.join(str(fault).split())}"


def named(name: object, fault: Exception) -> str:
    """As `one_line`, after the name of the file or case, which a KneeformerError has in its own text."""
    text = one_line(fault)
    return text if isinstance(fault, KneeformerError) else f"{name}: {text}"


def first_few(items: Sequence[object], most: int) -> str:
    """List items in a line, such as "a, b and 3 more" where there are more than `most`."""
    text = ", ".join(map(str, items[:most]))
    return text if len(items) <= most else f"{text} and {len(items) - most} more"


def is_memory_short(fault: Exception) -> bool:
    """True where memory ran out: NumPy raises MemoryError, torch and SimpleITK RuntimeError."""
    short = (
        r"out of (shared )?memory|not enough memory|can't allocate memory|[Ff]ailed to allocate|bad_alloc"
        r"|DataLoader worker .* killed by signal: Killed"
    )
    return isinstance(fault, MemoryError) or (
        isinstance(fault, RuntimeError) and re.search(short, str(fault)) is not None
    )
