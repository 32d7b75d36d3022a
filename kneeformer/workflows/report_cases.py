"""A predicted case in the report: slices, surfaces and measurements, from its files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from kneeformer.data.files import read_json
from kneeformer.data.image_folder import image_folder
from kneeformer.data.images import READABLE_ENDINGS, Image, file_ending, on_grid, read_image
from kneeformer.data.label_map import as_label_map
from kneeformer.data.segment_names import segments
from kneeformer.geometry.affine import transformed
from kneeformer.kspace.fourier import zero_filled
from kneeformer.labels import LabelScheme
from kneeformer.metrics.structures import measured_structures
from kneeformer.reporting.overlays import structure_colours
from kneeformer.reporting.renders import degrees_towards, smooth_surface
from kneeformer.reporting.report_page import Section, Table, has_viewer, picture_of
from kneeformer.reporting.scenes import NamedSurface, surface_scene, thinned
from kneeformer.reporting.sheet import window_of
from kneeformer.reporting.slice_viewer import Heat, viewer_data
from kneeformer.workflows.meshes import meaning_of

_BONE_WINDOW_HU = (-200.0, 1300.0)
_VISIBLE, _COMPLETED = (0.93, 0.88, 0.78), (1.0, 0.42, 0.29)
# Suffixes of volumes beside the main one, each with one that is always written beside it.
_BESIDE = {
    **dict.fromkeys(("_ct", "_raw", "_region", "_uncertainty"), "_region"),
    **{"_real": "_imag", "_imag": "_real"},
}
_ERROR_SHARE = 0.2  # of the image's white is the brightest of an error map


@dataclass(frozen=True)
class PredictedFiles:
    """The files of a predicted case.

    Attributes:
        path: the main volume.
        image: the scan, or the fully sampled k-space to compare with; None if not given.
    """

    name: str
    path: Path
    image: Path | None = None

    def beside(self, suffix: str) -> Path | None:
        """CASE_region.nrrd for "_region", CASE.json for ".json"; None if it does not exist."""
        ending = self.path.name[-len(file_ending(self.path)) :]
        name = self.path.name.removesuffix(ending)  # as the disk spells it, which may decompose it
        file = self.path.with_name(f"{name}{suffix}{ending if suffix.startswith('_') else ''}")
        return file if file.is_file() else None


def predicted_files(folder: Path, images: Path | None) -> list[PredictedFiles]:
    """The cases of a folder of predictions, by name.

    Args:
        images: folder of CASE_0000 files.
    """
    found = image_folder(folder).files
    given = {} if images is None else image_folder(images, known=READABLE_ENDINGS).files
    cases = [
        name
        for name in found
        if not any(
            name.endswith(end) and {case := name.removesuffix(end), f"{case}{other}"} <= found.keys()
            for end, other in _BESIDE.items()
        )
    ]
    return [PredictedFiles(c, found[c], given.get(f"{c}_0000", given.get(c))) for c in sorted(cases)]


def case_section(case: PredictedFiles, scheme: LabelScheme | None) -> Section:
    """Return a section of everything that the files of a case show.

    Args:
        scheme: meaning of label maps; None takes that of their headers.

    Raises:
        KneeformerError: a file cannot be read, or lies on another grid.
    """
    found = read_image(case.path)
    section = picture_section(case)
    if case.beside("_region") is not None:
        return _completion(case, found, section)
    if np.array_equal(found.array, np.rint(found.array)):
        return _segmentation(case, found, scheme or _own_meaning(case.path, found.array), section)
    return _reconstruction(case, found, section)


def _own_meaning(path: Path, volume: np.ndarray) -> LabelScheme:
    """As `meaning_of`; for an empty map without named segments, the scheme of no labels."""
    if not volume.any() and not segments(path):
        return LabelScheme.from_json({})
    return meaning_of(path, as_label_map(volume))


def picture_section(case: PredictedFiles) -> Section:
    """Return a section of a case's picture and warnings alone, for pages of many cases."""
    picture = case.beside(".png")
    pictures = () if picture is None else (picture_of(picture, f"Overlay of {case.name} in its planes"),)
    return Section(case.name, pictures=pictures, warnings=_facts(case).get("warnings", ()), is_case=True)


def _segmentation(case: PredictedFiles, found: Image, scheme: LabelScheme, section: Section) -> Section:
    colours = structure_colours(scheme)
    named = {value: (n, colours[n]) for n, value in zip(scheme.names, scheme.painted, strict=True)}
    measured = [*measured_structures(found.array, found.grid, scheme)]
    surfaces = [
        NamedSurface(m.name, thinned(m.surface), colours[m.name]) for m in measured if m.surface is not None
    ]
    rows = [(m.name, *(_number(m.facts.get(key)) for key in _MEASUREMENTS)) for m in measured]
    scan = _scan(case, found, np.zeros(found.array.shape, np.float32))
    volume = viewer_data(scan, found.grid, window_of(scan), found.array, named)
    table = Table("Measurements", ("Structure", *_MEASUREMENTS.values()), rows)
    scenes = [surface_scene(surfaces, case.name)] if surfaces and has_viewer() else []
    return replace(section, volumes=[volume], scenes=scenes, tables=[table])


_MEASUREMENTS = {
    "volume_mm3": "Volume mm³",
    "surface_area_mm2": "Area mm²",
    "mean_thickness_mm": "Mean thickness mm",
}


def _completion(case: PredictedFiles, found: Image, section: Section) -> Section:
    region = _volume(case.beside("_region"), found) > 0
    bone = found.array > 0
    air = np.full(bone.shape, -1000.0, np.float32)
    ct = case.beside("_ct")
    scan = _scan(case, found, air if ct is None else _volume(ct, found))
    heat, values, most = None, None, 1.0
    uncertain = case.beside("_uncertainty")
    mesh = thinned(smooth_surface(bone, found.grid))
    at = transformed(mesh.vertices, found.grid.to_index()).T
    if uncertain is not None:
        deviation = _volume(uncertain, found).astype(np.float32)
        most = max(1.0, float(np.ceil(deviation.max(initial=0))))
        heat = Heat("uncertainty", deviation, most, "mm")
        values = ndimage.map_coordinates(deviation, at, order=1, mode="nearest")
    named = {1: ("visible bone", _VISIBLE), 2: ("completed", _COMPLETED)}
    volume = viewer_data(scan, found.grid, _BONE_WINDOW_HU, bone + region.astype(np.uint8), named, heat)
    surfaces = [
        NamedSurface(name, thinned(smooth_surface(part, found.grid)), colour)
        for part, (name, colour) in ((bone & ~region, named[1]), (region, named[2]))
        if part.any()
    ]
    if values is not None:
        surfaces.append(NamedSurface("uncertainty", mesh, _VISIBLE, values, most, shown=False))
    completed = ndimage.map_coordinates(region.astype(np.float32), at, order=1, mode="nearest") > 0.25
    towards = degrees_towards(mesh.vertices, completed)
    scenes = [surface_scene(surfaces, case.name, towards)] if has_viewer() else []
    tables = [Table("Measurements", ("Quantity", "Value"), [*_rows(_facts(case))])]
    return replace(section, volumes=[volume], scenes=scenes, tables=tables)


def _reconstruction(case: PredictedFiles, found: Image, section: Section) -> Section:
    heat, window = None, window_of(found.array)
    if case.image is not None:
        image = read_image(case.image)
        truth = image.array
        if np.iscomplexobj(truth):
            truth = zero_filled(truth, image.grid.shape)
        error = np.abs(_like(found, Image(truth, image.grid), case.image) - found.array)
        heat = Heat("error", error, float(f"{_ERROR_SHARE * window[1]:.2g}"))
    volume = viewer_data(found.array, found.grid, window, heat=heat)
    tables = [Table("Sampling", ("Quantity", "Value"), rows)] if (rows := [*_rows(_facts(case))]) else []
    return replace(section, volumes=[volume], tables=tables)


def _scan(case: PredictedFiles, found: Image, otherwise: np.ndarray) -> np.ndarray:
    return otherwise if case.image is None else _volume(case.image, found)


def _volume(path: Path | None, like: Image) -> np.ndarray:
    assert path is not None
    return _like(like, read_image(path), path)


def _like(prediction: Image, image: Image, path: Path) -> np.ndarray:
    return on_grid(image, prediction.grid, path, "the prediction").array


def _facts(case: PredictedFiles) -> dict[str, Any]:
    file = case.beside(".json")
    content = {} if file is None else read_json(file)
    return content if isinstance(content, dict) else {}


def _rows(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{key}: ")
        elif not isinstance(value, list):
            rows.append((_words(f"{before}{key}"), _number(value)))
        elif value and all(isinstance(end, int | float) for end in value):  # an interval; not warnings
            rows.append((_words(f"{before}{key}"), " to ".join(f"{end:,.1f}" for end in value)))
    return rows


def _words(key: str) -> str:
    """The key of a measurement in words: "volume_mm3" as "Volume mm³"."""
    text = key.replace("_mm3", " mm³").replace("_mm2", " mm²").replace("_", " ")
    return text[:1].upper() + text[1:]


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
