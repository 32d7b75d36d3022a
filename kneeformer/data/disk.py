"""Faults of the disk: reported in one sentence and, if possible, before the work."""

import errno
import shutil
import tempfile
from pathlib import Path

from kneeformer.errors import KneeformerError, WorkStopped

_PROBE_BYTES = 4096  # a full disk lets empty files be made

_DISK_FAILS = ("the disk, or the network that leads to it, does not answer", "check it and try again")
_PERMISSION = ("permission denied", "change its owner or its permissions, or choose another place")
_IN_WORDS = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose a folder on another disk"),
    errno.EDQUOT: ("your disk quota is exhausted", "free some space, or choose a folder elsewhere"),
    errno.EFBIG: ("the file is larger than this disk or `ulimit -f` allows", "raise it, or choose elsewhere"),
    errno.EROFS: ("this disk can only be read", "choose a folder on another disk"),
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.ENOTDIR: (
        "a part of the path is a file, not a folder",
        "give another path, or move the file away",
    ),
    errno.EISDIR: ("a folder, where a file belongs", "give another path, or move the folder away"),
    errno.EEXIST: ("something of this name is in the way", "give another path, or move it away"),
    errno.ENOTEMPTY: ("a folder, where a file belongs", "give another path, or move the folder away"),
    errno.ENAMETOOLONG: ("the name is too long for this disk", "choose a shorter one"),
    errno.ELOOP: ("a link that leads back to itself", "fix the link"),
    errno.EBUSY: ("in use by another program", "close it and try again"),
    errno.ETXTBSY: ("in use by another program", "close it and try again"),
    errno.EMFILE: ("too many files are open", "allow more (`ulimit -n`), or use fewer processes (-np)"),
    errno.ENFILE: ("too many files are open on this machine", "close other programs, or try again later"),
    errno.ENOMEM: ("memory ran out", "use fewer processes (-np), or close other programs"),
    errno.EAGAIN: ("no more processes can be started", "use fewer (-np), or allow more (`ulimit -u`)"),
    errno.EIO: _DISK_FAILS,
    errno.ENXIO: _DISK_FAILS,
    errno.ENODEV: _DISK_FAILS,
    errno.ESTALE: _DISK_FAILS,
    errno.ENOTCONN: _DISK_FAILS,
    errno.ETIMEDOUT: _DISK_FAILS,
    errno.EHOSTDOWN: _DISK_FAILS,
    errno.EHOSTUNREACH: _DISK_FAILS,
}


class DiskError(WorkStopped):
    """A file could not be written because of the disk: the next one would fail too."""


def in_words(fault: OSError, path: Path | None = None) -> str:
    """One sentence: the file, what is wrong and what to do.

    Args:
        path: name for the file; None takes the one that the fault names.
    """
    name = path or fault.filename
    return _reason(fault) if name is None else f"{name}: {_reason(fault)}"


def require_writable(*folders: Path, needed_bytes: int = 0) -> None:
    """Check before the work that its results can be written, by writing a temporary file.

    A folder need not exist yet, and is not made.

    Raises:
        KneeformerError: folders that cannot be written to, or whose disk has less than `needed_bytes` free:
            all of them, one per line.
    """
    problems = [line for folder in dict.fromkeys(folders) if (line := _problem(folder, needed_bytes))]
    if problems:
        raise KneeformerError("\n".join(problems))


def free_disk_problem(folder: Path, needed_bytes: int) -> str | None:
    """A line where the disk of `folder`, which need not exist yet, has less than `needed_bytes` free."""
    free = shutil.disk_usage(_existing(folder)).free
    if free >= needed_bytes:
        return None
    return (
        f"{folder}: the disk has {_size(free)} free and about {_size(needed_bytes)} are needed; free some "
        f"space or choose a folder on another disk"
    )


def _size(count: int) -> str:
    """A number of bytes, for people to read."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _problem(folder: Path, needed_bytes: int) -> str | None:
    try:
        there = _existing(folder)
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
        return free_disk_problem(folder, needed_bytes)
    except OSError as fault:
        return f"{folder}: results cannot be written here: {_reason(fault)}"


def _reason(fault: OSError) -> str:
    unknown = (fault.strerror or str(fault), "check the disk")
    return "; ".join(_IN_WORDS.get(fault.errno or 0, unknown))


def _existing(folder: Path) -> Path:
    """The folder, or if it does not exist yet, the nearest one above it that does."""
    folder = folder.absolute()
    while True:
        try:
            folder.stat()
            return folder
        except FileNotFoundError:
            folder = folder.parent
