"""Plots of scores with their confidence intervals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Curve:
    """A named line of points: what it was measured at, and mean, low and high of the score there."""

    name: str
    points: tuple[tuple[str, tuple[float, float, float]], ...]


def draw_label_curves(curves: list[Curve], picture: Path) -> None:
    """A PNG of mean Dice against the number of labelled subjects, a line with error bars a curve."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    places = list(dict.fromkeys(place for curve in curves for place, _ in curve.points))
    figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for number, curve in enumerate(curves):
        shift = 0.06 * (number - (len(curves) - 1) / 2)  # so that intervals stand beside each other
        x = [places.index(place) + shift for place, _ in curve.points]
        mean, low, high = np.array([score for _, score in curve.points]).T
        reach = np.maximum([mean - low, high - mean], 0)  # equal scores may round below 0; NaN stays
        axes.errorbar(x, mean, yerr=reach, marker="o", ms=4, capsize=3, label=curve.name)
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set(xlabel="labelled subjects", ylabel="mean Dice on validation subjects (95 % CI)")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
