"""Pictures of bones: outlines are where the surfaces are, bars as high as codes are used."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from kneeformer.tasks.bone_completion.codebook_picture import draw_code_use
from kneeformer.tasks.bone_completion.registration_picture import draw_registration

RED, GREEN, BLUE = (214, 39, 40), (44, 160, 44), (76, 114, 176)


def extent(picture: Path, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of about a colour."""
    pixels = np.rint(255 * imread(picture)[..., :3]).astype(int)
    return np.nonzero((np.abs(pixels - colour) < 12).all(-1))


def ball(radius_mm: float, middle_mm: float) -> np.ndarray:
    """(z, y, x) signed distance to a ball off the middle along x, on 2 mm."""
    z, y, x = (2.0 * (np.indices((20, 20, 20)) - 9.5)).astype(np.float64)
    return np.sqrt(z**2 + y**2 + (x - middle_mm) ** 2) - radius_mm


def test_a_bone_lies_off_the_prototype_before_and_on_it_after(tmp_path: Path) -> None:
    prototype, picture = ball(12.0, 0.0), tmp_path / "bone.png"
    ct = np.full_like(prototype, 0.5)
    draw_registration(np.stack([ct, prototype]), ball(8.0, 6.0), ball(8.0, 0.0), (2, 2, 2), picture)
    width = imread(picture).shape[1]
    middles = {}
    for name, colour in (("bone", RED), ("prototype", GREEN)):
        rows, columns = extent(picture, colour)
        top = rows < imread(picture).shape[0] / 3  # the axial slice: columns run to the patient's left
        for side, half in (("before", columns < width / 2), ("after", columns >= width / 2)):
            found = columns[top & half]
            middles[name, side] = (found.min() + found.max()) / 2
            middles[name, side, "size"] = np.ptp(found)
    mm = middles["prototype", "after", "size"] / 24
    assert middles["bone", "after", "size"] == pytest.approx(16 * mm, abs=0.5 * mm)
    assert middles["bone", "after"] == pytest.approx(middles["prototype", "after"], abs=0.5 * mm)
    off = middles["bone", "before"] - middles["prototype", "before"]
    assert off == pytest.approx(6 * mm, abs=0.5 * mm)


def test_a_bar_a_code_the_most_used_first(tmp_path: Path) -> None:
    picture = tmp_path / "codes.png"
    draw_code_use(np.array([0, 30, 10, 0]), "4 codes", picture)
    _, columns = extent(picture, BLUE)
    heights = np.bincount(columns)[columns.min() : columns.max() + 1]
    assert np.median(heights[: len(heights) // 2]) == pytest.approx(
        3 * np.median(heights[len(heights) // 2 :]), rel=0.03
    )
