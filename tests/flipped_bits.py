"""Bits of files flipped in their place, as by a disk that fails or a copy that went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def flip_bit(file: Path, bit: int) -> None:
    """Flip a bit of a file, counted from its first byte; the file stays as long as it was."""
    with file.open("r+b") as handle:
        handle.seek(bit // 8)
        (byte,) = handle.read(1)
        handle.seek(bit // 8)
        handle.write(bytes([byte ^ 1 << bit % 8]))


@contextmanager
def flipped_bit(file: Path, bit: int) -> Iterator[None]:
    """Within the block, a bit of a file is flipped."""
    flip_bit(file, bit)
    yield
    flip_bit(file, bit)
