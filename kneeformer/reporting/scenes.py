"""Interactive surfaces of the report page, as plotly figures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kneeformer.geometry.decimation import simplified
from kneeformer.geometry.mesh import Mesh
from kneeformer.reporting.report_page import Scene

_FACES = 9_000  # of a surface: more do not turn smoothly without a GPU
_FAR = 1.7  # distance of the observer, in sizes of the scene
_LIGHT = {"ambient": 0.5, "diffuse": 0.7, "specular": 0.15, "roughness": 0.6, "fresnel": 0.1}


@dataclass(frozen=True)
class NamedSurface:
    """A surface with an entry in the legend.

    Attributes:
        colour: red, green and blue from 0 to 1.
        values: of each vertex, coloured from 0 to `most`; None uses `colour` throughout.
        shown: at first; a click in the legend shows or hides it.
    """

    name: str
    mesh: Mesh
    colour: tuple[float, float, float]
    values: np.ndarray | None = None
    most: float = 1.0
    shown: bool = True


def thinned(mesh: Mesh) -> Mesh:
    """The surface with no more faces than a page can turn smoothly."""
    return simplified(mesh, _FACES)


def surface_scene(surfaces: Sequence[NamedSurface], title: str, degrees: float = 20) -> Scene:
    """A scene of surfaces in patient space (mm), in perspective.

    Args:
        degrees: direction of the observer, as in `renders.render`.
    """
    angle = np.deg2rad(degrees)
    eye = {"x": _FAR * float(np.sin(angle)), "y": -_FAR * float(np.cos(angle)), "z": 0.3}
    hidden = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    layout = {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "legend": {"x": 0, "y": 1, "bgcolor": "rgba(0,0,0,0)", "itemsizing": "constant"},
        "scene": {"aspectmode": "data", "camera": {"eye": eye}, **hidden},
    }
    names = ", ".join(surface.name for surface in surfaces)
    return Scene(
        {"data": [_trace(surface) for surface in surfaces], "layout": layout},
        alt=f"Surfaces of {title}: {names}. Arrow keys rotate them.",
        caption="Drag or use the arrow keys to rotate, scroll to zoom, click a name to hide or show it.",
    )


def _trace(surface: NamedSurface) -> dict[str, Any]:
    x, y, z = (_packed(surface.mesh.vertices[:, axis], np.float32) for axis in range(3))
    i, j, k = (_packed(surface.mesh.faces[:, corner], np.uint32) for corner in range(3))
    red, green, blue = (round(255 * share) for share in surface.colour)
    trace: dict[str, Any] = {
        "type": "mesh3d",
        "name": surface.name,
        **{"x": x, "y": y, "z": z, "i": i, "j": j, "k": k},
        "color": f"rgb({red},{green},{blue})",
        "flatshading": False,
        "lighting": _LIGHT,
        "lightposition": {"x": 0, "y": 0, "z": 100_000},
        "showlegend": True,
        "visible": True if surface.shown else "legendonly",
        "hovertemplate": "%{x:.1f}, %{y:.1f}, %{z:.1f} mm<extra></extra>",
    }
    if surface.values is not None:
        bar = {"title": {"text": "mm"}, "thickness": 12, "len": 0.5}
        intensity = _packed(surface.values, np.float32)
        trace |= {"intensity": intensity, "cmin": 0, "cmax": surface.most, "colorscale": "Viridis"}
        trace |= {"showscale": True, "colorbar": bar}
    return trace


def _packed(numbers: np.ndarray, kind: type[np.generic]) -> dict[str, str]:
    """An array as plotly takes it in JSON: little-endian bytes in base64."""
    code = {np.float32: "f4", np.uint32: "u4"}[kind]
    content = np.ascontiguousarray(numbers, np.dtype(kind).newbyteorder("<"))
    return {"dtype": code, "bdata": base64.b64encode(content.tobytes()).decode()}
