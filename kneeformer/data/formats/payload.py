"""The voxels of a file as bytes: unpacked, with size and checksum verified before they are used."""

import bz2
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kneeformer.data.formats.base import damaged

GZIP, ZLIB_OR_GZIP = 31, 47  # zlib's `wbits`; both make it verify the checksum at the stream's end

LEVEL = 2  # of 1 to 9: on a scan 6 takes twice the time for a file smaller by half a percent


def exactly(content: bytes, size: int) -> bytes:
    """`content`, which must be `size` bytes. Raises FileFault."""
    if len(content) < size:
        raise damaged(f"cut short: {len(content)} of {size} bytes")
    if len(content) > size:
        raise damaged(f"{len(content)} bytes where its header promises {size}")
    return content


def gunzip(packed: bytes, size: int) -> bytes:
    """The `size` bytes of a gzip file. Raises FileFault: damaged, or another size."""
    return _unpack(lambda: zlib.decompressobj(GZIP), packed, size)


def inflate(packed: bytes, size: int) -> bytes:
    """As `gunzip`, of a zlib (or gzip) stream."""
    return _unpack(lambda: zlib.decompressobj(ZLIB_OR_GZIP), packed, size)


def bunzip2(packed: bytes, size: int) -> bytes:
    """As `gunzip`, of a bzip2 file."""
    return _unpack(bz2.BZ2Decompressor, packed, size)


def gunzip_start(packed: bytes, size: int) -> bytes:
    """The first `size` bytes, or fewer, not verified: enough to look at a header. Raises FileFault."""
    try:
        return zlib.decompressobj(GZIP).decompress(packed, size)
    except zlib.error as fault:
        raise damaged(f"cut short or damaged: {fault}") from fault


def decimal_numbers(text: bytes, dtype: np.dtype, count: int) -> bytes:
    """Voxels written as `count` decimal numbers, as bytes of `dtype`. Raises FileFault.

    White space must follow the last number too: without it digits could be missing.
    """
    if text and not text[-1:].isspace():
        raise damaged(
            "cut short, or without the line end behind its last number; add it if the file is whole"
        )
    words = text.split()
    if len(words) != count:
        raise damaged(f"cut short or damaged: {len(words)} of {count} numbers")
    number = float if dtype.kind == "f" else int
    try:
        return np.array([number(word) for word in words], dtype).tobytes()
    except (ValueError, OverflowError) as fault:
        raise damaged(f"its voxels are not all numbers of its type: {fault}") from fault


def gzip(content: bytes, dtype: np.dtype) -> bytes:
    """Compress voxels of a type, with or without a header before them, as one gzip member."""
    return _pack(content, dtype, GZIP)


def deflate(content: bytes, dtype: np.dtype) -> bytes:
    """As `gzip`, as a zlib stream."""
    return _pack(content, dtype, zlib.MAX_WBITS)


def _pack(content: bytes, dtype: np.dtype, wbits: int) -> bytes:
    """Compress, by run-length matching alone if voxels are one byte or floats.

    It makes label maps half as large, and floats, in which little repeats, faster. The two bytes of an int16
    background are no run.
    """
    by_runs = dtype.itemsize == 1 or dtype.kind == "f"
    strategy = zlib.Z_RLE if by_runs else zlib.Z_DEFAULT_STRATEGY
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, wbits, strategy=strategy)
    return packer.compress(content) + packer.flush()


def _unpack(unpacker: Callable[[], Any], packed: bytes, size: int) -> bytes:
    """Unpack streams until the bytes end, but never more than `size` + 1 bytes."""
    parts: list[bytes] = []
    missing = size
    while missing >= 0:
        stream = unpacker()
        try:
            parts.append(stream.decompress(packed, min(missing + 1, sys.maxsize)))
        except (zlib.error, OSError, ValueError) as fault:
            raise damaged(f"cut short or damaged: {fault}") from fault
        missing -= len(parts[-1])
        if missing >= 0 and not stream.eof:
            raise damaged(
                f"cut short or damaged: its compressed voxels end after {size - missing} of {size} bytes"
            )
        packed = stream.unused_data
        if not packed.strip(b"\0"):  # zeros may fill a block of a tape or disk
            break
    if missing < 0:
        raise damaged(f"its voxels take more than the {size} bytes that its header promises")
    return exactly(parts[0] if len(parts) == 1 else b"".join(parts), size)
