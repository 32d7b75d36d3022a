"""One compressed array in a file, read region by region; what is read is compared with its checksums.

blosc2 silently decompresses damaged bytes into wrong values, so the writer keeps a CRC-32 of each
chunk. A reader compares it before it decompresses the chunk for the first time: no damage is ever read, and
only what is read is checked. ZFS, HDF5 and Zarr detect damage in this way.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from kneeformer.data.files import stamp, written_whole
from kneeformer.errors import KneeformerError

_BLOCK_BYTES = 256 * 1024  # decompressed together; fits a core's second-level cache


class ArrayRecord(BaseModel):
    """Facts about a file as it was written, by which damage is found.

    Attributes:
        size: bytes of the file.
        chunks, blocks: shape of the parts with a checksum each, and of those decompressed together.
        crc32: checksum of each chunk as stored, the last axis of the array running fastest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    blocks: tuple[int, ...]
    crc32: tuple[int, ...]


class StoredArray:
    """An array in a file: slicing reads the requested region and nothing else.

    Attributes:
        shape, dtype, ndim: as of a numpy array.
        record: what the file holds.
        remedy: what a user can do about a damaged file.
    """

    def __init__(self, file: Path, record: ArrayRecord, remedy: str) -> None:
        """Open a file. Raises KneeformerError: it is missing, or not as its record says."""
        import blosc2  # takes 0.2 s, and predictions of raw files do not need it

        self.file, self.record, self.remedy = file, record, remedy
        try:
            self._opened = stamp(file)
            self._array: Any = blosc2.open(str(file), mode="r")
            size, found = file.stat().st_size, _layout(self._array)
        except Exception as fault:  # blosc2 may raise anything if the header is damaged
            raise self._unreadable(str(fault)) from fault
        if size != record.size or found != record.model_dump(include=set(found)):
            raise self._unreadable("damaged")
        self.shape, self.dtype, self.ndim = record.shape, np.dtype(record.dtype), len(record.shape)
        self._unchecked = set(range(len(record.crc32)))

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a region, with steps of 1.

        Raises:
            KneeformerError: it cannot be read, is damaged, or was replaced after it was opened: blosc2 would
                read the new content.
        """
        import blosc2

        try:
            if stamp(self.file) != self._opened:
                raise KneeformerError(
                    f"{self.file}: prepared again while this command reads it; once kf_preprocess has ended, "
                    f"repeat the command (kf_train: with --c, or --overwrite)"
                )
            for chunk in blosc2.get_slice_nchunks(self._array, key) if self._unchecked else ():
                self._check(int(chunk))
            return np.asarray(self._array[key])
        except (RuntimeError, OSError) as fault:  # blosc2 raises both
            raise self._unreadable(str(fault)) from fault

    def check(self) -> None:
        """Compare every chunk with its checksum. Raises KneeformerError: one is damaged."""
        try:
            for chunk in sorted(self._unchecked):
                self._check(chunk)
        except (RuntimeError, OSError) as fault:
            raise self._unreadable(str(fault)) from fault

    def _check(self, chunk: int) -> None:
        if chunk not in self._unchecked:
            return
        if zlib.crc32(self._array.schunk.get_chunk(chunk)) != self.record.crc32[chunk]:
            raise self._unreadable("damaged")
        self._unchecked.remove(chunk)

    def _unreadable(self, fault: str) -> KneeformerError:
        return KneeformerError(f"{self.file}: cannot be read ({fault}); {self.remedy}")


def write_array(file: Path, array: np.ndarray, crop: tuple[int, ...]) -> ArrayRecord:
    """Write (channels, z, y, x) or (z, y, x), whole or not at all.

    Args:
        crop: usual shape (z, y, x) of the regions that will be read.
    """
    import blosc2

    chunks = _chunks(array.shape, crop)
    with written_whole(file) as beside:
        written: Any = blosc2.asarray(
            np.ascontiguousarray(array),
            urlpath=str(beside),
            mode="w",
            chunks=chunks,
            blocks=_blocks(chunks, array.itemsize),
            cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1},
        )
        crc32 = [zlib.crc32(written.schunk.get_chunk(i)) for i in range(written.schunk.nchunks)]
        return ArrayRecord(size=beside.stat().st_size, crc32=tuple(crc32), **_layout(written))


def _layout(array: Any) -> dict[str, Any]:
    """Facts of an array that decide the places and values of decompressed chunks."""
    return {
        "shape": tuple(array.shape),
        "dtype": str(array.dtype),
        "chunks": tuple(array.chunks),
        "blocks": tuple(array.blocks),
    }


def _chunks(shape: tuple[int, ...], crop: tuple[int, ...]) -> tuple[int, ...]:
    """One channel, and half a crop along each axis: a crop anywhere touches few chunks and little else."""
    spatial = tuple(min(n, max(1, c // 2)) for n, c in zip(shape[-3:], crop, strict=True))
    return (1,) * (len(shape) - 3) + spatial


def _blocks(chunks: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    sizes = list(chunks)
    while math.prod(sizes) * itemsize > _BLOCK_BYTES:
        sizes[int(np.argmax(sizes))] = -(-max(sizes) // 2)
    return tuple(sizes)
