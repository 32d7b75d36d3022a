"""Thousands of files with headers drawn at random, sound and damaged: how many are misread.

python tests/benchmarks/misread_files.py [FILES, 6000] [FIRST, 0]

The suite reads the first 240 of them. A sound file must be read as pynrrd, nibabel or SimpleITK reads it,
voxel by voxel, corner by corner. A damaged one (bits flipped, cut) must be refused or read as what it says.
"""

import logging
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "data"))

from damaged_files import content_of, draw_damage, misreading
from generated_headers import generate

from kneeformer.errors import KneeformerError


def main(files: int = 6000, first: int = 0) -> None:
    logging.disable()
    counts: Counter[str] = Counter(misread=0, tracebacks=0)
    started = time.perf_counter()
    for number in range(first, first + files):
        with tempfile.TemporaryDirectory() as folder:
            try:
                counts.update(one_file(Path(folder), number))
            except Exception:
                counts["tracebacks"] += 1
                traceback.print_exc()
    print(f"{time.perf_counter() - started:.0f} s: {', '.join(f'{n} {what}' for what, n in counts.items())}")


def one_file(folder: Path, number: int) -> "Counter[str]":
    file = generate(folder, number)
    counts = Counter({f"{''.join(file.path.suffixes)} files": 1})
    try:
        sound = content_of(file.path)
    except KneeformerError as fault:
        print(fault)
        return counts + Counter({"sound files refused": 1})
    if not sound.same(file.read(file.path)):
        print(f"{number}: a sound {file.path.name} is read otherwise than by an independent reader")
        counts["misread"] += 1
    for damage in draw_damage(file, number, each=3):
        counts["damages"] += 1
        if fault := misreading(file, sound, damage):
            print(f"{number}: {damage}: {fault}")
            counts["misread"] += 1
    return counts


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
