"""A picture of how often each code of a codebook is used."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import written_whole


def draw_code_use(use: np.ndarray, title: str, picture: Path) -> None:
    """Draw a PNG of bars, the most used code first, with a dashed line at uniform use.

    Args:
        use: (codes,) number of vectors of each code.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    shares = 100 * np.sort(use)[::-1] / use.sum()
    axes.bar(np.arange(1, len(use) + 1), shares, width=1.0, color="#4c72b0")
    axes.axhline(100 / len(use), color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="codes, most used first", ylabel="share of vectors, %", title=title)
    axes.set_xlim(0.5, len(use) + 0.5)
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=100)
