"""Files cut short or with flipped bits, and whether kneeformer read anything in them that is not there."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from generated_headers import Content, Generated

from kneeformer.data.images import read_image
from kneeformer.errors import KneeformerError


@dataclass(frozen=True)
class Damage:
    """What was done to a file: cut to `at` bytes, or bit `bit` of byte `at` flipped."""

    path: Path
    at: int
    bit: int | None

    def apply(self, content: bytes) -> bytes:
        if self.bit is None:
            return content[: self.at]
        spoilt = bytearray(content)
        spoilt[self.at] ^= 1 << self.bit
        return bytes(spoilt)


def draw_damage(file: Generated, seed: int, each: int = 1) -> Iterator[Damage]:
    """`each` truncations and `each` flipped bits of the header's file and of the voxels' file."""
    rng = np.random.default_rng(seed)
    for path in dict.fromkeys((file.path, file.data)):
        size = path.stat().st_size
        for _ in range(each):
            yield Damage(path, int(rng.integers(1, size)), None)
            yield Damage(path, int(rng.integers(size)), int(rng.integers(8)))


def misreading(file: Generated, sound: Content, damage: Damage) -> str | None:
    """What kneeformer reads wrongly in a damaged file; None where it refuses it, or reads what it says.

    A cut file, and one whose checksum covers the damage, must be refused or read as the sound one. Elsewhere
    a flipped bit is another header or another voxel, which no reader can know for damage: it must be
    read as the independent reader reads it, but for axes that are straightened where they are almost at
    right angles. Any exception but KneeformerError is let through.
    """
    content = damage.path.read_bytes()
    damage.path.write_bytes(damage.apply(content))
    try:
        read = content_of(file.path)
        if read.same(sound):
            return None
        if damage.bit is None and not file.open_ended:
            return "a cut file was read as something else"
        if (
            damage.path == file.data
            and file.compressed_from is not None
            and damage.at >= file.compressed_from
        ):
            return "a damaged compressed file was read as something else"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                there = file.read(file.path)
            except Exception as fault:
                return f"read, where an independent reader says: {fault}"
        return (
            None if read.same(there, straightened=1e-2) else "read otherwise than an independent reader does"
        )
    except KneeformerError:
        return None
    finally:
        damage.path.write_bytes(content)


def content_of(path: Path) -> Content:
    """What kneeformer reads."""
    image = read_image(path)
    return Content(image.array, image.grid.to_patient()[:3][:, [2, 1, 0, 3]])
