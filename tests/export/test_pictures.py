"""Pictures hang as radiologists hang them, whatever way the file stores its axes."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.geometry import Geometry
from kneeformer.data.images import Image, write_image
from kneeformer.export.pictures import draw_segmentation, upright
from kneeformer.labels import LabelScheme

# A patient of 2 x 3 x 4 voxels, axes (feet to head, front to back, right to left), each with its own value.
PATIENT = np.arange(24).reshape(2, 3, 4)


def stored(order: tuple[int, ...], flipped: tuple[int, ...]) -> Image:
    """The patient as a file with its axes in another order, some of them running backwards."""
    array = np.flip(PATIENT, flipped).transpose(order)
    spacing = np.array([1.0, 2.0, 5.0])[list(order)]
    steps = np.eye(3)[:, ::-1]  # columns: patient direction (x, y, z) of the axes head, back, left
    steps = np.where(np.isin(np.arange(3), flipped), -steps, steps)[:, list(order)]
    direction = tuple(steps[:, ::-1].ravel().tolist())  # ITK: columns in the order of the index (x, y, z)
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return Image(array, Geometry(shape, (spacing[0], spacing[1], spacing[2]), direction=direction))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2), (0, 1, 2)])
def test_every_way_of_storing_hangs_alike(order: tuple[int, ...], flipped: tuple[int, ...]) -> None:
    image = stored(order, flipped)
    sagittal, aspect = upright(image, order.index(2))
    wanted = np.moveaxis(PATIENT, 2, 0)[:, ::-1]  # rows from head to feet, columns from front to back
    assert np.array_equal(sagittal[0], wanted[3 if 2 in flipped else 0])
    assert aspect == 1.0 / 2.0
    axial, _ = upright(image, order.index(0))
    assert np.array_equal(axial[0], PATIENT[1 if 0 in flipped else 0])  # front on top, right on the left
    coronal, _ = upright(image, order.index(1))
    assert np.array_equal(coronal[0], PATIENT[::-1, 2 if 1 in flipped else 0])


def test_a_picture_is_drawn_even_of_an_empty_label_map(tmp_path: Path) -> None:
    geometry = Geometry((4, 8, 8), (3.0, 1.0, 1.0))
    rng = np.random.default_rng(0)
    write_image(tmp_path / "scan.nrrd", rng.normal(size=(4, 8, 8)).astype(np.float32), geometry)
    write_image(tmp_path / "empty.nrrd", np.zeros((4, 8, 8), np.uint8), geometry)
    scheme = LabelScheme.from_json({"background": 0, "bone": 1})
    files = [tmp_path / name for name in ("scan.nrrd", "empty.nrrd", "empty.nrrd")]
    draw_segmentation(files[0], files[1], files[2], scheme, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
