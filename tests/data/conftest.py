"""Real files for the tests of the data room."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import write_image
from kneeformer.geometry.grid import Grid

SHAPE = (4, 5, 6)


@pytest.fixture
def oblique() -> Grid:
    """A grid turned about all three axes, with spacing and origin that no float32 can hold."""
    angles = (0.1, 0.23, -0.37)
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[[i, j], [i, j]] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    origin = (-71.123456789, 33.3, 1234.56789)
    return Grid(SHAPE, (3.1, 0.4375, 1 / 3), origin, tuple(turn.ravel().tolist()))


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes dataset.json and sound cases with one structure each."""

    def make(cases: tuple[str, ...] = ("a", "b"), ending: str = ".nrrd", **settings: Any) -> Dataset:
        folder = tmp_path / "Dataset001_Knee"
        description = {
            "channel_names": {"0": "PD"},
            "labels": {"background": 0, "femur": 1, "tibia": 2},
            "numTraining": 99,
            "file_ending": ending,
            **settings,
        }
        folder.mkdir(exist_ok=True)
        (folder / "dataset.json").write_text(json.dumps(description))
        image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
        label = (image % 3).astype(np.uint8)
        grid = Grid(SHAPE, (3.0, 1.0, 1.0))
        for case in cases:
            for channel in range(len(description["channel_names"])):
                write_image(folder / "imagesTr" / f"{case}_{channel:04d}{ending}", image, grid)
            write_image(folder / "labelsTr" / f"{case}{ending}", label, grid)
        return Dataset.open(folder)

    return make


@pytest.fixture
def write_nifti() -> Callable[..., bytes]:
    """Writes a NIfTI-1 file byte by byte, as no writer would; returns the bytes."""

    def write(
        path: Path,
        extents: tuple[int, ...],
        *,
        kind: int = 4,
        bits: int = 16,
        intent: int = 0,
        order: str = "<",
        start: float = 352.0,
    ) -> bytes:
        header = bytearray(352)
        struct.pack_into(f"{order}i", header, 0, 348)
        struct.pack_into(f"{order}8h", header, 40, len(extents), *extents, *[1] * (7 - len(extents)))
        struct.pack_into(f"{order}3h", header, 68, intent, kind, bits)
        struct.pack_into(f"{order}8f", header, 76, *[1.0] * 8)
        struct.pack_into(f"{order}3f", header, 108, start, 1.0, 0.0)
        header[344:348] = b"n+1\0"
        content = bytes(header) + bytes(range(1, 251)) * (int(np.prod(extents)) * bits // 8 // 250 + 1)
        content = content[: 352 + int(np.prod(extents)) * bits // 8]
        path.write_bytes(content)
        return content

    return write
