"""Whatever a valid header says is read as independent readers read it; whatever is damaged is never misread.

Many thousands of the same files are read by tests/benchmarks/misread_files.py.
"""

from pathlib import Path

import pytest
from damaged_files import content_of, draw_damage, misreading
from generated_headers import generate

BLOCKS, FILES = range(4), 60


@pytest.mark.parametrize("block", BLOCKS)
def test_read_as_independent_readers_do(tmp_path: Path, block: int) -> None:
    for number in range(FILES * block, FILES * (block + 1)):
        file = generate(tmp_path, number)
        assert content_of(file.path).same(file.read(file.path)), file


@pytest.mark.parametrize("block", BLOCKS)
def test_damage_is_never_misread(tmp_path: Path, block: int) -> None:
    for number in range(FILES * block, FILES * (block + 1)):
        file = generate(tmp_path, number)
        sound = content_of(file.path)
        for damage in draw_damage(file, number):
            assert misreading(file, sound, damage) is None, damage
