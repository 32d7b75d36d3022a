"""The plot of Dice against labels: a curve a start, whatever is known of its intervals."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from kneeformer.metrics.bootstrap import seeds_and_subjects_interval
from kneeformer.reporting.plots import Curve, draw_label_curves

Score = tuple[float, float, float]
COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44))


def drawn(curves: list[Curve], folder: Path) -> np.ndarray:
    """The pixels of the plot, (rows, columns, 3) uint8."""
    draw_label_curves(curves, folder / "curves.png")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    return np.rint(255 * imread(folder / "curves.png")[..., :3]).astype(np.uint8)


def bar(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """First row, last row and column of the longest upright line of a colour; 0 where there is none."""
    lines = [(0, 0, 0)]
    for column, found in enumerate((pixels == colour).all(-1).T):
        ends = np.flatnonzero(np.diff(found.astype(int), prepend=0, append=0)).reshape(-1, 2)
        lines += [(int(first), int(last) - 1, column) for first, last in ends]
    return max(lines, key=lambda line: line[1] - line[0])


def curve(name: str, *scores: Score) -> Curve:
    return Curve(name, tuple(zip(("2", "5", "all"), scores, strict=False)))


def test_each_curve_has_its_colour_and_the_higher_score_lies_higher(tmp_path: Path) -> None:
    pixels = drawn([curve("a", (0.3, 0.2, 0.4)), curve("b", (0.7, 0.6, 0.8))], tmp_path)
    assert pixels.shape[:2] == (504, 780)
    low, high, none = (bar(pixels, colour) for colour in COLOURS)
    assert 0 < high[0] < high[1] < low[0] < low[1] and none == (0, 0, 0)


def test_error_bars_are_as_long_as_the_interval(tmp_path: Path) -> None:
    pixels = drawn([curve("a", (0.5, 0.3, 0.9)), curve("b", (0.5, 0.4, 0.7))], tmp_path)
    long, short = (bar(pixels, colour) for colour in COLOURS[:2])
    assert (long[1] - long[0]) / (short[1] - short[0]) == pytest.approx(2, rel=0.05)
    assert abs(long[2] - short[2]) > 10, "they stand beside each other"


def test_an_interval_that_is_not_known_has_no_bar(tmp_path: Path) -> None:
    first, last, _ = bar(drawn([curve("a", (0.5, math.nan, math.nan))], tmp_path), COLOURS[0])
    assert 0 < last - first < 15, "the point alone"


@pytest.mark.parametrize(
    ("score", "shape"), [(0.0, (1, 2)), (0.1, (3, 5)), (0.7, (2, 3)), (1 / 3, (3, 7)), (0.87, (3, 5))]
)
def test_equal_scores_of_all_are_drawn(score: float, shape: tuple[int, int], tmp_path: Path) -> None:
    """Their interval has no width, and may lie on the wrong side of the mean by a rounding."""
    drawn([curve("a", seeds_and_subjects_interval(np.full(shape, score)))], tmp_path)


def test_curves_may_have_different_places(tmp_path: Path) -> None:
    curves = [curve("a", (0.5, 0.3, 0.7)), Curve("b", (("all", (0.9, 0.8, 1.0)),))]
    pixels = drawn(curves, tmp_path)
    assert bar(pixels, COLOURS[0])[2] + 300 < bar(pixels, COLOURS[1])[2]


def test_numbers_come_before_all_in_whatever_order_they_are_given(tmp_path: Path) -> None:
    score = (0.5, 0.3, 0.7)
    curves = [Curve(p, ((p, score),)) for p in ("all", "20", "5")]
    pixels = drawn(curves, tmp_path)
    columns = [bar(pixels, colour)[2] for colour in COLOURS]
    assert columns[2] + 100 < columns[1] < columns[0] - 100


@pytest.mark.parametrize("variants", [3, 8])
def test_many_curves_get_a_panel_a_variant(variants: int, tmp_path: Path) -> None:
    names = ["", *(f"variant {i}" for i in range(variants))]
    pair = (("scratch", (0.5, 0.3, 0.6)), ("pre-trained", (0.6, 0.5, 0.8)))
    curves = [Curve(start, (("5", score),), name) for name in names for start, score in pair]
    pixels = drawn(curves, tmp_path)
    rows = -(-len(names) // 3)
    assert pixels.shape[0] == pytest.approx(120 * (0.8 + 2.3 * rows), abs=1) and pixels.shape[1] == 1152
    assert bar(pixels, COLOURS[2]) == (0, 0, 0), "a start has one colour in all panels"
    for i in range(rows * 3):
        row, column = divmod(i, 3)
        height, width = pixels.shape[0] // rows, pixels.shape[1] // 3
        panel = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
        lengths = [last - first for first, last, _ in (bar(panel, c) for c in COLOURS[:2])]
        assert all(n > 30 for n in lengths) == (i < len(names)), "what is left over is empty"
