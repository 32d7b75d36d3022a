"""Damage to a stored array is found when it is read, and no other values are ever read."""

from contextlib import suppress
from pathlib import Path

import blosc2
import numpy as np
import pytest
from flipped_bits import flipped_bit

from kneeformer.data.stored_array import StoredArray, write_array
from kneeformer.errors import KneeformerError

SHAPE = (1, 4, 12, 10)
REMEDY = "make it again"
CROP = (4, 12, 10)  # chunks of (1, 2, 6, 5): 8 of them
ARRAY = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
ARRAY[:, :2] = 0  # such chunks are not written: blosc2 notes their value


def test_a_flipped_bit_anywhere_is_found_or_changes_no_voxel(tmp_path: Path) -> None:
    """A bit of each byte, as a disk or a copy over a network may flip it: headers, chunks and trailer."""
    file = tmp_path / "knee.b2nd"
    record = write_array(file, ARRAY, CROP)
    bits, found = range(0, 8 * record.size, 9), 0
    for bit in bits:
        with flipped_bit(file, bit):
            try:
                assert np.array_equal(StoredArray(file, record, REMEDY)[:], ARRAY)
            except KneeformerError as fault:
                assert str(file) in str(fault) and REMEDY in str(fault)
                found += 1
    assert found > 0.8 * len(bits)


def test_blosc2_alone_reads_other_voxels(tmp_path: Path) -> None:
    """Why there are checksums: noise of 24 bits of mantissa is stored as it is, and any bits decompress."""
    file = tmp_path / "knee.b2nd"
    write_array(file, ARRAY, CROP)
    silent = 0
    for bit in range(8 * 800, 8 * 1100, 75):
        with flipped_bit(file, bit), suppress(RuntimeError):
            silent += not np.array_equal(blosc2.open(str(file), mode="r")[:], ARRAY)
    assert silent > 20


def test_damage_elsewhere_does_not_keep_a_region_from_being_read(tmp_path: Path) -> None:
    file = tmp_path / "knee.b2nd"
    record = write_array(file, ARRAY, CROP)
    with flipped_bit(file, 8 * 1000):
        stored, readable = StoredArray(file, record, REMEDY), 0
        for first in np.ndindex(2, 2, 2):
            z, y, x = (slice(f * n, f * n + n) for f, n in zip(first, (2, 6, 5), strict=True))
            try:
                assert np.array_equal(stored[0, z, y, x], ARRAY[0, z, y, x])
                readable += 1
            except KneeformerError:
                with pytest.raises(KneeformerError, match="damaged"):
                    _ = stored[:, z, y, x]
        assert readable == 7
        with pytest.raises(KneeformerError, match=r"knee\.b2nd: .* \(damaged\)"):
            stored.check()


def test_whole_files_pass_wherever_they_lie(tmp_path: Path) -> None:
    """A copy has other times and another inode; nothing of these is kept."""
    file, copy = tmp_path / "knee.b2nd", tmp_path / "elsewhere" / "shoulder.b2nd"
    record = write_array(file, ARRAY, CROP)
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    stored = StoredArray(copy, record, REMEDY)
    stored.check()
    assert np.array_equal(stored[0, 1:3, ..., -4:], ARRAY[0, 1:3, ..., -4:])
    assert (stored.shape, stored.dtype, stored.ndim) == (SHAPE, np.float32, 4)


def test_another_array_in_the_place_of_a_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "knee.b2nd"
    record = write_array(file, ARRAY, CROP)
    write_array(file, ARRAY[:, :, ::-1], CROP)
    with pytest.raises(KneeformerError, match="damaged"):
        StoredArray(file, record, REMEDY)[:]
    write_array(file, ARRAY, (2, 12, 10))
    with pytest.raises(KneeformerError, match="damaged"):
        StoredArray(file, record, REMEDY)


def test_an_array_that_is_written_anew_is_not_read_as_the_one_that_was_opened(tmp_path: Path) -> None:
    """As when cases are prepared again while a training reads them: what was checked is not checked again."""
    file = tmp_path / "knee.b2nd"
    opened = StoredArray(file, write_array(file, ARRAY, CROP), REMEDY)
    assert np.array_equal(opened[:], ARRAY)
    write_array(file, 3 * ARRAY + 5, CROP)
    with pytest.raises(KneeformerError, match="prepared again while this command reads it"):
        opened[:]
