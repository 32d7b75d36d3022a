"""A dark sheet of panels, as on a reading station: planes with letters and scale bars, and renderings."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kneeformer.data.files import written_whole
from kneeformer.reporting.views import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Colour = str | tuple[float, float, float]

INK, PALE, PAPER, AMBER = "#f2f2f2", "#a8adb4", "#0b0d10", "#ffb347"
_WIDTH, _TALLEST, _GAP = 12.0, 5.6, 0.12  # inches: of the sheet, of a row, between panels
_LINE = 0.24  # inches of a line of text
_DPI = 100
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


class Sheet:
    """Rows of panels below a title, with a legend and notes at the foot.

    Attributes:
        axes: panels of each row, in the order of their sizes.
    """

    def __init__(
        self,
        title: str,
        rows: Sequence[Sequence[tuple[float, float]]],
        legend: Mapping[str, Colour] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        """Lay out a sheet to draw on.

        Args:
            rows: height and width of each panel; the panels of a row have one scale.
            legend: names with their colours.
            notes: warnings, printed in amber; long ones are wrapped.
        """
        from matplotlib.figure import Figure

        lines = [line for note in notes for line in textwrap.wrap(f"⚠ {note}", 150)]
        scales = [_scale(row) for row in rows]
        heights = [max(h for h, _ in row) * s for row, s in zip(rows, scales, strict=True)]
        named = _legend_lines(legend or {})
        foot = _LINE * (len(lines) + len(named)) + _GAP
        head = 2 * _LINE
        self.height = head + sum(heights) + _GAP * len(rows) + foot
        self.figure = Figure(figsize=(_WIDTH, self.height), dpi=_DPI, facecolor=PAPER)
        self._text(_GAP, head / 2, title, INK, 13)
        self.axes: list[list[Axes]] = []
        top = head
        for row, scale, height in zip(rows, scales, heights, strict=True):
            self.axes.append(self._row(row, scale, top, height))
            top += height + _GAP
        for entries in named:
            self._legend(entries, top + _LINE / 2)
            top += _LINE
        for line in lines:
            self._text(_GAP, top + _LINE / 2, line, AMBER, 9)
            top += _LINE

    def save(self, picture: Path) -> None:
        """Write the sheet as PNG."""
        with written_whole(picture) as beside:
            self.figure.savefig(beside, format="png", facecolor=PAPER, pil_kwargs={"compress_level": 3})

    def _row(
        self, sizes: Sequence[tuple[float, float]], scale: float, top: float, height: float
    ) -> "list[Axes]":
        used = sum(w * scale for _, w in sizes) + _GAP * (len(sizes) - 1)
        left, panels = (_WIDTH - used) / 2, []
        for h, w in sizes:
            high, wide = h * scale, w * scale
            bottom = self.height - top - height / 2 - high / 2
            box = (left / _WIDTH, bottom / self.height, wide / _WIDTH, high / self.height)
            axes = self.figure.add_axes(box)
            axes.set_axis_off()
            panels.append(axes)
            left += wide + _GAP
        return panels

    def _text(self, x: float, y: float, text: str, colour: Colour, size: float) -> None:
        """Write a line of text; x and y are inches from the left and from the top to its middle."""
        self.figure.text(
            x / _WIDTH,
            1 - y / self.height,
            text,
            color=colour,
            fontsize=size,
            va="center",
            parse_math=False,
        )

    def _legend(self, entries: Sequence[tuple[str, Colour]], y: float) -> None:
        left = _GAP
        for name, colour in entries:
            self._text(left, y, "■", colour, 11)
            self._text(left + 0.2, y, name, INK, 9)
            left += _entry_width(name)


def show_plane(
    axes: "Axes",
    view: View,
    pixels: np.ndarray,
    window: tuple[float, float],
    name: str = "",
    ends: bool = True,
) -> None:
    """Draw a slice in mm, with the name of its plane, the letters of its ends and a scale bar.

    Args:
        pixels: (rows, columns), from `View.slices`.
        window: values of black and white.
        name: title instead of that of the plane.
        ends: whether to write the letters of the ends.
    """
    height, width = size_mm(view, pixels)
    axes.imshow(
        pixels,
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        extent=(0, width, height, 0),
        aspect="auto",
        interpolation="bilinear",
    )
    caption(axes, name or view.plane)
    top, bottom, left, right = view.ends
    for letter, x, y in ((top, 0.5, 0.965), (bottom, 0.5, 0.035), (left, 0.03, 0.5), (right, 0.97, 0.5)):
        _write(axes, x, y, letter if ends else "", PALE, 10, "center")
    bar = max((b for b in _BARS_MM if b <= 0.3 * width), default=_BARS_MM[0])
    start, y = 0.04 * width, 0.955 * height
    axes.plot([start, start + bar], [y, y], color=INK, lw=2.5, solid_capstyle="butt")
    _write(axes, start / width, 1 - (y - 0.02 * height) / height, f"{bar} mm", INK, 8, "left", "bottom")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def outline(axes: "Axes", view: View, mask: np.ndarray, colour: Colour, style: str = "solid") -> None:
    """Draw the contour of a mask on a slice of `show_plane`.

    Args:
        mask: (rows, columns) bool.
    """
    if not mask.any():
        return
    padded = np.pad(mask, 1).astype(np.float32)  # closes contours at the border
    y, x = ((np.arange(n) - 0.5) * mm for n, mm in zip(padded.shape, view.pixel_mm, strict=True))
    axes.contour(x, y, padded, [0.5], colors=[colour], linewidths=1.4, linestyles=style)


def caption(axes: "Axes", text: str) -> None:
    """Write text in the upper left corner of a panel."""
    _write(axes, 0.03, 0.97, text, INK, 10, "left", "top")


def window_of(volume: np.ndarray) -> tuple[float, float]:
    """Values of black and white for a scan: its 0.5th and 99.5th percentile."""
    low, high = np.percentile(volume[::2, ::2, ::2], (0.5, 99.5))
    return float(low), float(high if high > low else low + 1e-6)


def size_mm(view: View, pixels: np.ndarray) -> tuple[float, float]:
    """Height and width of a slice (rows, columns)."""
    return pixels.shape[0] * view.pixel_mm[0], pixels.shape[1] * view.pixel_mm[1]


def _write(
    axes: "Axes", x: float, y: float, text: str, colour: Colour, size: float, ha: str, va: str = "center"
) -> None:
    from matplotlib.patheffects import withStroke

    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color=colour,
        fontsize=size,
        ha=ha,
        va=va,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def _scale(row: Sequence[tuple[float, float]]) -> float:
    """Inches per unit of a row's sizes, so that the row fits the sheet."""
    wide = (_WIDTH - _GAP * (len(row) + 1)) / sum(w for _, w in row)
    return min(wide, _TALLEST / max(h for h, _ in row))


def _legend_lines(legend: Mapping[str, Colour]) -> list[list[tuple[str, Colour]]]:
    """The entries of the legend, in lines of as many as fit."""
    lines: list[list[tuple[str, Colour]]] = []
    left = _WIDTH
    for name, colour in legend.items():
        if left + _entry_width(name) > _WIDTH:
            lines.append([])
            left = _GAP
        lines[-1].append((name, colour))
        left += _entry_width(name)
    return lines


def _entry_width(name: str) -> float:
    return 0.45 + 0.085 * len(name)
