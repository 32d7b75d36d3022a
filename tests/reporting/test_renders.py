"""Renders: a surface lies where it is, is seen from where it is looked at, and the near hides the far."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of
from kneeformer.reporting.renders import Surface, extent_mm, render

SHAPE = (24, 32, 40)
GRID = Grid.along_patient(SHAPE, (1.0, 1.0, 1.0), "SPL")
RED, BLUE = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])


def ball(z: float, y: float, x: float, radius: float) -> Mesh:
    index = np.indices(SHAPE).transpose(1, 2, 3, 0)
    return surface_of(radius - np.linalg.norm(index - (z, y, x), axis=-1), 0.0, GRID)


def pixels(surfaces: list[Surface], degrees: float) -> np.ndarray:
    """(rows, columns, 3) at ten dots a mm, from 0 to 1."""
    high, wide = extent_mm(surfaces, degrees)
    figure = Figure(figsize=(wide / 10, high / 10), dpi=100, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    render(axes, surfaces, degrees)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def test_a_ball_is_a_smooth_disc_of_its_size_lit_from_above() -> None:
    shown = pixels([Surface(ball(12, 16, 20, 8), RED)], 0)
    rows, columns = np.nonzero(shown[..., 0] > 0.1)
    assert np.ptp(rows) == pytest.approx(160, abs=4) and np.ptp(columns) == pytest.approx(160, abs=4)
    middle = shown[:, shown.shape[1] // 2, 0]
    assert middle[len(middle) // 3] > middle[-len(middle) // 4] + 0.1
    inside = shown[len(shown) // 2 - 30 : len(shown) // 2 + 30, 60:110, 0]
    assert np.abs(np.diff(inside, axis=1)).max() < 0.03, "no steps, no seams"


@pytest.mark.parametrize(
    ("degrees", "left", "right"),
    [(0, "red", "blue"), (180, "blue", "red")],
)
def test_the_patients_right_is_on_the_left_from_the_front_alone(
    degrees: float, left: str, right: str
) -> None:
    both = [Surface(ball(12, 16, 8, 5), RED), Surface(ball(12, 16, 32, 5), BLUE)]
    shown = pixels(both, degrees)
    halves = shown[:, : shown.shape[1] // 2], shown[:, shown.shape[1] // 2 :]
    seen = ["red" if half[..., 0].sum() > half[..., 2].sum() else "blue" for half in halves]
    assert seen == [left, right]


@pytest.mark.parametrize(("degrees", "hidden"), [(90, 0), (270, 2)])
def test_what_is_near_hides_what_is_far(degrees: float, hidden: int) -> None:
    both = [Surface(ball(12, 16, 8, 5), RED), Surface(ball(12, 16, 32, 7), BLUE)]
    both = both if degrees == 90 else [Surface(ball(12, 16, 8, 7), RED), Surface(ball(12, 16, 32, 5), BLUE)]
    shown = pixels(both, degrees)
    gloss = shown.min(-1, keepdims=True)
    assert (shown - gloss)[..., hidden].max() < 0.05
