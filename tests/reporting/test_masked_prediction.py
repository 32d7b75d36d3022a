"""Pictures of masked predictions: hidden voxels are blue, and pixels have the aspect of voxels."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from kneeformer.reporting.masked_prediction import draw_masked_prediction

HIDDEN_COLOUR = (0x24, 0x47, 0x6B)


def drawn(panels: list[np.ndarray], spacing: tuple[float, float, float], folder: Path) -> np.ndarray:
    """The pixels of the picture, (rows, columns, 3) uint8."""
    draw_masked_prediction(panels, spacing, folder / "picture.png")
    return np.rint(255 * imread(folder / "picture.png")[..., :3]).astype(np.uint8)


def box_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last row, first and last column of a colour."""
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_three_slices_of_three_volumes(tmp_path: Path) -> None:
    # Thirteen slices of one grey each, of which 3, 6 and 9 are drawn; white is 12, black is 0.
    volume = np.broadcast_to(np.arange(13.0)[:, None, None], (13, 20, 30))
    pixels = drawn([volume, volume, 12 - volume], (3.0, 1.0, 1.0), tmp_path)
    low, high = np.percentile(volume, (0.5, 99.5))
    greys = [round(255 * (n - low) / (high - low)) for n in (3, 6, 9)]
    rows, columns = pixels.shape[0] // 3, pixels.shape[1] // 3
    found = [[pixels[rows * r + rows // 2, columns * c + columns // 2] for c in range(3)] for r in range(3)]
    expected = [[greys[r], greys[r], greys[2 - r]] for r in range(3)]
    assert np.abs(np.array(found, float) - np.array(expected)[..., None]).max() <= 2


@pytest.mark.parametrize("count", [5, 6, 7])
def test_of_a_few_slices_three_different_ones_are_drawn(count: int, tmp_path: Path) -> None:
    volume = np.broadcast_to(np.arange(float(count))[:, None, None], (count, 8, 8))
    pixels = drawn([volume] * 3, (3.0, 1.0, 1.0), tmp_path)
    greys = [int(pixels[pixels.shape[0] * r // 6, pixels.shape[1] // 2, 0]) for r in (1, 3, 5)]
    assert greys[0] < greys[1] < greys[2]


def test_hidden_voxels_have_a_colour_of_their_own_in_the_middle_column_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    volume = rng.random((6, 20, 30))
    masked = volume.copy()
    masked[:, :5] = np.nan  # the upper quarter of each slice
    masked[:, 5:, 24:] = np.nan  # and of the rest the last fifth
    pixels = drawn([volume, masked, volume], (3.0, 1.0, 1.0), tmp_path)
    blue = (pixels == HIDDEN_COLOUR).all(-1)
    width = blue.shape[1]
    first, last = np.flatnonzero(blue.any(0))[[0, -1]]
    assert width / 3 - 3 < first and last < 2 * width / 3 + 3
    panel = blue[:, first : last + 1]
    full_rows, part_rows = panel.mean(1) > 0.97, np.abs(panel.mean(1) - 0.2) < 0.03
    assert full_rows.sum() / part_rows.sum() == pytest.approx(1 / 3, rel=0.1)
    assert int((np.diff(full_rows.astype(int)) == 1).sum()) == 3, "one block in each of three rows"


@pytest.mark.parametrize(
    ("shape", "spacing", "size"),
    [
        ((6, 20, 30), (3.0, 1.0, 1.0), (900, 600)),
        ((20, 30, 6), (1.0, 1.0, 3.0), (900, 600)),
        ((20, 6, 30), (1.0, 3.0, 1.0), (900, 600)),
        ((6, 20, 30), (3.0, 1.5, 0.5), (900, 1800)),
        ((8, 16, 16), (1.0, 1.0, 1.0), (900, 900)),
    ],
)
def test_pixels_have_the_aspect_of_voxels(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], size: tuple[int, int], tmp_path: Path
) -> None:
    axis = int(np.argmax(spacing))
    volume = np.random.default_rng(0).random(shape)
    masked = np.full(shape, np.nan)
    pixels = drawn([volume, masked, volume], spacing, tmp_path)
    assert (pixels.shape[1], pixels.shape[0]) == pytest.approx(size, abs=2)
    blue = (pixels == HIDDEN_COLOUR).all(-1)
    columns = np.flatnonzero(blue.any(0))
    lines = np.flatnonzero(blue.any(1))
    breaks = np.flatnonzero(np.diff(lines) > 1)
    assert len(breaks) == 2, "three panels above one another"
    height, width = breaks[0] + 1, len(columns)
    millimetres = [n * mm for a, (n, mm) in enumerate(zip(shape, spacing, strict=True)) if a != axis]
    assert height / width == pytest.approx(millimetres[0] / millimetres[1], rel=0.03)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_picture_of_a_constant_volume_with_one_slice(value: float, tmp_path: Path) -> None:
    volume = np.full((1, 8, 8), value)
    masked = volume.copy()
    masked[:, :4] = np.nan
    assert drawn([volume, masked, volume], (3.0, 1.0, 1.0), tmp_path).shape[1] == 900
