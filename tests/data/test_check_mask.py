"""Every bad mask that is known, each with its message."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.check_mask import mask_problems
from kneeformer.data.images import write_image
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import turn

GRID = Grid((4, 5, 6), (3.0, 1.0, 1.0))
SCAN = Path("scans") / "a_0000.nrrd"  # only named
UNMARKED = "keeps no bone, and nothing finds it"


def mask(*values: float, dtype: type = np.uint8) -> np.ndarray:
    """A mask whose first voxels have these values, all others 0."""
    array = np.zeros(GRID.shape, dtype)
    array.ravel()[: len(values)] = values
    return array


def problems(
    folder: Path, array: np.ndarray, grid: Grid = GRID, unmarked: str | None = UNMARKED
) -> list[str]:
    """What is wrong with a mask, without the file before each."""
    file = folder / "a.nrrd"
    write_image(file, array, grid)
    found = mask_problems(file, SCAN, GRID, unmarked)
    assert all(line.startswith(f"{file}: ") for line in found)
    return [line.removeprefix(f"{file}: ") for line in found]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_sound_mask(tmp_path: Path, dtype: type) -> None:
    assert problems(tmp_path, mask(1, 2, dtype=dtype)) == []


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (mask(), "an empty mask, every voxel is 0; draw it: 1 marks bone to keep"),
        (mask(1, 1), "nothing to complete, no voxel is 2; mark the region of the fracture with 2"),
        (np.full(GRID.shape, 2, np.uint8), "everything is hidden, every voxel is 2; draw the region around"),
        (
            np.where(mask(2), 2, 1),
            "marks everything, no voxel is 0: nothing shows where the bone ends; mark the",
        ),
        (mask(1, 2, 21, 3), "holds 21; in a mask 1 marks bone to keep, 2 the region to complete, 3 to 20 a"),
        (mask(1, 2, -1, dtype=np.int16), "holds -1; in a mask 1 marks"),
        (mask(1, 2, 0.5, dtype=np.float32), "holds 0.5; in a mask 1 marks"),
        (mask(1, 2, np.nan, dtype=np.float32), "holds nan; in a mask 1 marks"),
        (mask(*range(40)), "holds 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, ...; in a mask"),
    ],
)
def test_wrong_values(tmp_path: Path, array: np.ndarray, said: str) -> None:
    (problem,) = problems(tmp_path, array)
    assert problem.startswith(said)


def test_bone_to_keep_may_be_missing_where_it_is_found(tmp_path: Path) -> None:
    assert problems(tmp_path, mask(2)) == [UNMARKED]
    assert problems(tmp_path, mask(2), unmarked=None) == []


def test_a_mask_stored_otherwise_is_none_on_another_grid(tmp_path: Path) -> None:
    """A grid that is turned without its voxels has other places, and stays refused."""
    stored, array = GRID.orientation(), mask(1, 2)
    turned = GRID.turned("RSA")
    assert problems(tmp_path, turn(array, stored, "RSA"), turned) == []
    (problem,) = problems(tmp_path, turn(array, stored, "RSA"), replace(turned, origin=GRID.origin))
    assert problem.startswith("its grid differs from a_0000.nrrd")


def test_a_scan_is_no_mask_of_its_own(tmp_path: Path) -> None:
    """CASE is a scan's name, too, and so -m the folder of such scans finds them."""
    file = tmp_path / "a.nrrd"
    write_image(file, mask(1, 2), GRID)
    (problem,) = mask_problems(file, file, GRID, UNMARKED)
    assert problem.startswith(f"{file}: is the scan; give its mask, of the same name, in another folder")


def test_another_grid(tmp_path: Path) -> None:
    moved = Grid(GRID.shape, GRID.spacing, (0.0, 0.0, 9.0))
    (problem,) = problems(tmp_path, mask(1, 2), moved)
    assert problem.startswith("its grid differs from a_0000.nrrd: same size and spacing, but corners 9 mm")
    assert "nearest-neighbour" in problem


def test_all_faults_at_once(tmp_path: Path) -> None:
    moved = Grid(GRID.shape, GRID.spacing, (0.0, 0.0, 9.0))
    assert len(problems(tmp_path, mask(), moved)) == 2


def test_no_mask(tmp_path: Path) -> None:
    file = tmp_path / "a.nrrd"
    (problem,) = mask_problems(file, SCAN, GRID, None)
    assert problem.startswith(f"{file}: no such file: every scan needs its mask, a_0000.nrrd as well")


def test_a_mask_that_is_called_otherwise(tmp_path: Path) -> None:
    for name in ("a_mask.nrrd", "A.nrrd", "ab.nrrd", "a_0000.nrrd", "b.nrrd", "._a_mask.nrrd"):
        (tmp_path / name).touch()
    (problem,) = mask_problems(tmp_path / "a.nrrd", SCAN, GRID, None)
    assert problem.endswith("; where A.nrrd, a_mask.nrrd is it, call it a.nrrd")


def test_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "a.nrrd"
    file.touch()
    assert mask_problems(file, SCAN, None, None) == [f"{file}: empty file (0 bytes); export it again"]


def test_segments_that_slicer_numbered_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.seg.nrrd"
    write_image(file, mask(1), GRID)
    names = b"Segment0_Name:=complete\nSegment0_LabelValue:=1\nkinds:"
    file.write_bytes(file.read_bytes().replace(b"kinds:", names))
    first, second = mask_problems(file, SCAN, GRID, UNMARKED)
    assert "names the segments complete = 1, but a mask has keep = 1, complete = 2" in first
    assert "nothing to complete" in second
