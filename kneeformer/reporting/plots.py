"""Plots of scores with their confidence intervals."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kneeformer.data.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOGETHER = 6  # curves that one panel can show
COLUMNS = 3
X, Y = "labelled subjects", "mean Dice on validation subjects (95 % CI)"


@dataclass(frozen=True)
class Curve:
    """A named line of points: place, and mean, low and high of the score there.

    Attributes:
        variant: what differs from the plan; "" if nothing does.
    """

    name: str
    points: tuple[tuple[str, tuple[float, float, float]], ...]
    variant: str = ""


def draw_label_curves(curves: list[Curve], picture: Path) -> None:
    """Draw a PNG of mean Dice by number of labelled subjects, with one line with error bars per curve.

    Many curves are split into one small panel per variant, with the planned ones as dashed lines.
    """
    from matplotlib.figure import Figure

    places = sorted({place for curve in curves for place, _ in curve.points}, key=_numbers_first)
    panels = len({curve.variant for curve in curves})
    if len(curves) <= TOGETHER or panels == 1:
        figure = Figure(figsize=(6.5, 4.2), layout="constrained")
        _draw_together(figure, curves, places)
    else:
        rows, columns = math.ceil(panels / COLUMNS), min(COLUMNS, panels)
        figure = Figure(figsize=(3.2 * columns, 0.8 + 2.3 * rows), layout="constrained")
        _draw_panels(figure, figure.subplots(rows, columns, sharey=True, squeeze=False), curves, places)
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=120)


def _draw_together(figure: "Figure", curves: list[Curve], places: list[str]) -> None:
    axes = figure.subplots()
    _prepare(axes, places)
    for number, curve in enumerate(curves):
        name = ", ".join(filter(None, (curve.name, curve.variant)))
        _add(axes, curve, places, 0.06 * (number - (len(curves) - 1) / 2), f"C{number}", name)
    axes.set(xlabel=X, ylabel=Y)
    axes.legend(fontsize=8)


def _draw_panels(figure: "Figure", grid: np.ndarray, curves: list[Curve], places: list[str]) -> None:
    """Draw one panel per variant; a name has the same colour in all panels."""
    variants = list(dict.fromkeys(curve.variant for curve in curves))
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(curve.name for curve in curves))}
    for axes, variant in zip(grid.flat, variants, strict=False):
        _prepare(axes, places)
        axes.set_title(variant or "planned", fontsize=9)
        own = [curve for curve in curves if curve.variant == variant]
        for number, curve in enumerate(own):
            _add(axes, curve, places, 0.12 * (number - (len(own) - 1) / 2), colours[curve.name], curve.name)
        for curve in curves:
            if variant and not curve.variant:
                x, mean, _ = _positions(curve, places)
                axes.plot(x, mean, "--", color=colours[curve.name], alpha=0.5, label=f"{curve.name}, planned")
    for axes in grid.flat[len(variants) :]:
        axes.set_axis_off()
    figure.supxlabel(X, fontsize=10)
    figure.supylabel(Y, fontsize=10)
    lines, names = grid.flat[len(variants) - 1].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=len(names), fontsize=8)


def _prepare(axes: "Axes", places: list[str]) -> None:
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(alpha=0.3)


def _add(axes: "Axes", curve: Curve, places: list[str], shift: float, colour: str, name: str) -> None:
    """Draw a curve with error bars, shifted so that several do not overlap."""
    x, mean, reach = _positions(curve, places)
    axes.errorbar(x + shift, mean, yerr=reach, color=colour, marker="o", ms=4, capsize=3, label=name)


def _positions(curve: Curve, places: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place number and mean of each point, from left to right, and (2, points) lengths of the error bars."""
    points = sorted(curve.points, key=lambda point: places.index(point[0]))
    mean, low, high = np.array([score for _, score in points]).T
    reach = np.maximum([mean - low, high - mean], 0)  # equal scores may round below 0; NaN stays
    return np.array([places.index(place) for place, _ in points]), mean, reach


def _numbers_first(place: str) -> tuple[bool, int]:
    return (False, int(place)) if place.isdigit() else (True, 0)
