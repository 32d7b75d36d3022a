"""The picture of reconstructions: panels to one scale, and the errors below them where they are."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from kneeformer.geometry.grid import Grid
from kneeformer.reporting.reconstruction_sheet import draw_reconstructions
from kneeformer.reporting.sheet import window_of

SHAPE = (3, 40, 40)
GRID = Grid.along_patient(SHAPE, (3.0, 1.0, 1.0), "RIP")


def drawn(reference: np.ndarray | None, folder: Path, oriented: bool = True) -> np.ndarray:
    """Pixels (rows, columns, 3) of the panels below the title."""
    image = np.full(SHAPE, 1.0, np.float32)
    image[:, :20] = 0.5  # the upper half
    images = {"zero-filled": image, "reconstructed": np.ones(SHAPE, np.float32)}
    draw_reconstructions(images, GRID, reference, folder / "case.png", oriented)
    return imread(folder / "case.png")[60:-30, :, :3]


def test_errors_are_bright_below_the_image_that_is_wrong(tmp_path: Path) -> None:
    truth = np.full(SHAPE, 1.0, np.float32)  # the upper half of one is wrong by more than a fifth of white
    pixels = drawn(truth, tmp_path)
    errors = pixels[len(pixels) // 2 + 30 :]
    third = pixels.shape[1] // 3
    wrong, right = errors[:, third + 30 : 2 * third - 30], errors[:, 2 * third + 30 : -30]
    rows = len(errors)
    assert wrong[rows // 4 : rows // 3].mean() > 0.8
    assert wrong[2 * rows // 3 : 3 * rows // 4].mean() < 0.1 and right[rows // 4 :].mean() < 0.1


def test_a_scan_of_tiny_numbers_is_as_bright_as_any() -> None:
    volume = np.random.default_rng(0).random(SHAPE)
    assert window_of(1e-9 * volume) == pytest.approx(tuple(1e-9 * end for end in window_of(volume)))
    assert window_of(np.zeros(SHAPE)) == (0, 1e-6), "a constant one is black"


def test_without_all_samples_there_is_one_row_of_reconstructions(tmp_path: Path) -> None:
    two, three = drawn(None, tmp_path), drawn(np.ones(SHAPE, np.float32), tmp_path)
    assert len(two) < len(three), "no row of errors"


def test_ends_are_named_where_the_file_tells_how_the_patient_lay(tmp_path: Path) -> None:
    named, stored = (drawn(None, tmp_path, oriented) for oriented in (True, False))
    left = slice(0, named.shape[1] // 2)  # the first of two panels
    differs = np.argwhere((named != stored).any(2)[:, left])
    rows, columns = differs.T / np.array([[len(named)], [named.shape[1] // 2]])
    assert (rows[np.abs(columns - 0.5) < 0.05] < 0.1).any(), "a letter at the top"
    assert (columns[np.abs(rows - 0.5) < 0.05] < 0.1).any(), "a letter at the left"
    middle = (np.abs(rows - 0.5) < 0.2) & (np.abs(columns - 0.5) < 0.2)
    assert not middle.any()
