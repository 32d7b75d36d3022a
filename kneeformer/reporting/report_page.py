"""The report page: what it may hold, and one HTML file of it that needs nothing else."""

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

_WIDEST, _QUALITY = 1000, 82  # pixels of a picture in the page, and how it is compressed


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each names it.

    Attributes:
        foot: one row more, of means; () without.
        is_prose: cells are sentences, no numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[str] = ()
    notes: Sequence[str] = ()
    is_prose: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with what it shows in words."""

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
    """Surfaces to turn, as a figure of plotly (data and layout)."""

    figure: Mapping[str, Any]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        code: settings or a log as a file holds them, folded below `code_title`.
        volumes: as `slice_viewer.viewer_data` makes them.
        is_case: one of many alike, in a frame.
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
        """Size in the page, about."""
        parts = [*self.volumes, *(s.figure for s in self.scenes), *(p.uri for p in self.pictures)]
        return sum(len(json.dumps(part)) for part in parts) + sum(len(c.svg) for c in self.charts)


@dataclass(frozen=True)
class Page:
    """All of a report.

    Attributes:
        kind: of report, above the title.
        facts: name and value, below it.
    """

    title: str
    kind: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    footer: str = ""


def write_page(page: Page, path: Path) -> None:
    """Write a page as one HTML file. Text is escaped, whatever it holds.

    Scenes need plotly; where it is not installed they are left out.
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
    """True where plotly is installed, which turns surfaces."""
    return importlib.util.find_spec("plotly") is not None


def picture_of(path: Path, alt: str, caption: str = "") -> Picture:
    """A picture file in the size of the page, compressed for it."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, round(image.height * _WIDEST / image.width)))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=_QUALITY)
    return Picture(data_uri(data.getvalue(), "image/webp"), alt, caption)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a MIME type as a URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _source(name: str) -> str:
    return (files("kneeformer.reporting") / "page" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
