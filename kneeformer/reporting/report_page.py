"""The report page: its parts, and its writing as one self-contained HTML file."""

import base64
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from kneeformer.data.files import write_text

_WIDEST, _QUALITY = 1000, 82  # width of a picture in pixels, and quality of its compression


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each names it.

    Attributes:
        foot: a last row of means; () without one.
        is_prose: whether cells are sentences instead of numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[str] = ()
    notes: Sequence[str] = ()
    is_prose: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with a description."""

    uri: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """Curves as SVG."""

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Scene:
    """Interactive surfaces, as a plotly figure (data and layout)."""

    figure: Mapping[str, Any]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        code: text of settings or a log, folded below `code_title`.
        volumes: made by `slice_viewer.viewer_data`.
        is_case: whether it shows a case, in a frame.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    volumes: Sequence[Mapping[str, Any]] = ()
    scenes: Sequence[Scene] = ()
    warnings: Sequence[str] = ()
    code: str = ""
    code_title: str = ""
    is_case: bool = False

    @cached_property
    def bytes(self) -> int:
        """Approximate size in the page."""
        parts = [*self.volumes, *(s.figure for s in self.scenes), *(p.uri for p in self.pictures)]
        return sum(len(json.dumps(part)) for part in parts) + sum(len(c.svg) for c in self.charts)


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        kind: kind of report, shown above the title.
        facts: names and values, shown below it.
    """

    title: str
    kind: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    footer: str = ""


def write_page(page: Page, path: Path) -> None:
    """Write a page as one HTML file, with all text escaped.

    Scenes are left out if plotly is not installed.
    """
    from jinja2 import Environment, FunctionLoader

    environment = Environment(loader=FunctionLoader(_source), autoescape=True)
    shows_scenes = any(section.scenes for section in page.sections)
    text = environment.get_template("report.html").render(
        page=page,
        css=_source("report.css"),
        js=_source("report.js"),
        library=_plotly() if shows_scenes and has_viewer() else "",
    )
    write_text(path, text)


def has_viewer() -> bool:
    """True where plotly is installed, which shows interactive surfaces."""
    return importlib.util.find_spec("plotly") is not None


def picture_of(path: Path, alt: str, caption: str = "") -> Picture:
    """A picture file, scaled and compressed for the page."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, round(image.height * _WIDEST / image.width)))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=_QUALITY)
    return Picture(data_uri(data.getvalue(), "image/webp"), alt, caption)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a MIME type as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _source(name: str) -> str:
    return (files("kneeformer.reporting") / "page" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
