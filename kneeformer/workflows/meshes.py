"""Surface files and measurements of the structures in label maps."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.check_labels import meaning_problems
from kneeformer.data.disk import DiskError, require_writable
from kneeformer.data.files import read_json, write_json
from kneeformer.data.image_folder import composed, image_folder
from kneeformer.data.images import FILE_ENDINGS, file_ending
from kneeformer.data.label_map import read_label_map
from kneeformer.data.mesh_files import WRITERS
from kneeformer.data.processes import run_each
from kneeformer.data.segment_names import segments
from kneeformer.errors import KneeformerError, named
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.metrics.structures import measured_structures
from kneeformer.progress import Progress
from kneeformer.workflows.outputs import shared_outputs

_MOST = 255  # structures of a label map without names; more values are grey values of a scan


@dataclass(frozen=True)
class MeshFiles:
    """Format and size of surfaces in files.

    Attributes:
        ending: "stl", "ply" or "vtp".
        faces: about the most triangles of a surface; None keeps all.
    """

    ending: str = "stl"
    faces: int | None = None

    def outputs(self, scheme: LabelScheme) -> tuple[str, ...]:
        """List the suffixes, after the case's name, of all files that may be written.

        Raises:
            KneeformerError: two structures would share a file.
        """
        return (".json", *(f"_{name}.{self.ending}" for name in file_names(scheme.names).values()))

    def write(
        self, folder: Path, case: str, labels: np.ndarray, grid: Grid, scheme: LabelScheme
    ) -> list[str]:
        """Write CASE_STRUCTURE.ending for each structure of a label map, then CASE.json.

        Args:
            labels: (z, y, x) label map.

        Returns:
            A line for each surface that has more faces than wanted.
        """
        names, facts, larger = file_names(scheme.names), dict[str, Any](), list[str]()
        for structure in measured_structures(labels, grid, scheme, self.faces):
            file = folder / f"{case}_{names[structure.name]}.{self.ending}"
            if structure.surface is None:
                file.unlink(missing_ok=True)  # of an earlier prediction
            else:
                WRITERS[self.ending](file, structure.surface)
                if self.faces is not None and (number := len(structure.surface.faces)) > self.faces:
                    larger.append(
                        f"{file}: {number} triangles; with {self.faces} it would not keep its shape"
                    )
            facts[structure.name] = {
                "file": None if structure.surface is None else file.name,
                **structure.facts,
            }
        for name, earlier in _earlier_surfaces(folder, case).items():
            if name not in facts:
                earlier.unlink(missing_ok=True)
        write_json(folder / f"{case}.json", {"space": "LPS", "structures": facts})
        return larger


def _earlier_surfaces(folder: Path, case: str) -> dict[str, Path]:
    """Surface files that an earlier CASE.json in the folder lists, by structure."""
    file = folder / f"{case}.json"
    content = read_json(file) if file.is_file() else {}
    structures = content["structures"] if _is_of_meshes(content) else {}
    names = {name: facts["file"] for name, facts in structures.items() if facts["file"] is not None}
    return {name: folder / Path(of).name for name, of in names.items() if of.startswith(f"{case}_")}


def file_names(structures: Sequence[str]) -> dict[str, str]:
    """Names of structures as parts of file names: letters, digits, - and _.

    Raises:
        KneeformerError: two structures would share a name.
    """
    names = {name: re.sub(r"[^\w-]+", "_", name) for name in structures}
    taken = Counter(name.casefold() for name in names.values())
    if twins := [name for name, file in names.items() if taken[file.casefold()] > 1]:
        raise KneeformerError(
            f"structures {' and '.join(map(repr, twins))} would write one mesh file; rename one of them"
        )
    return names


@dataclass(frozen=True)
class Export:
    """A label map, and the surface files to make of it.

    Attributes:
        scheme: meaning of its values; None takes the segments of its header, or label_1, label_2, ...
    """

    labels: Path
    case: str
    output: Path
    scheme: LabelScheme | None
    files: MeshFiles


def export_meshes(
    source: Path,
    output: Path,
    scheme: LabelScheme | None,
    files: MeshFiles,
    processes: int,
    watch: Progress,
) -> list[str]:
    """Write the surfaces of every label map of a folder, or of one file.

    Args:
        scheme: as in `Export`.
        processes: number of label maps at a time.

    Returns:
        A line for each file that could not be used.

    Raises:
        KneeformerError: there is no label map; the output cannot be written to; two cases would share a
            file; or a CASE.json there is not of meshes but, for example, of a completion.
        DiskError: the disk is full or fails.
    """
    require_writable(output)
    maps = _label_maps(source)
    _refuse_other_facts(output, maps)
    if scheme is not None and (shared := shared_outputs(maps, files.outputs(scheme), "")):
        raise KneeformerError("\n".join(shared))
    outcomes = run_each(
        export_case,
        [Export(path, case, output, scheme, files) for case, path in maps.items()],
        [str(path) for path in maps.values()],
        processes,
        lambda done: watch("Meshes", done, len(maps)),
    )
    for larger in outcomes:
        for line in () if isinstance(larger, Exception) else larger:
            logging.getLogger(__name__).warning("%s", line)
    faults = [(p, o) for p, o in zip(maps.values(), outcomes, strict=True) if isinstance(o, Exception)]
    if full := next((fault for _, fault in faults if isinstance(fault, DiskError)), None):
        raise full
    return [named(path, fault) for path, fault in faults]


def _refuse_other_facts(output: Path, cases: Iterable[str]) -> None:
    """Raises KneeformerError: a CASE.json that is not of meshes would be overwritten."""
    there = [file for case in cases if (file := output / f"{case}.json").is_file()]
    if others := [file for file in there if not _is_of_meshes(read_json(file))]:
        lines = (f"{file}: not of meshes, and would be overwritten" for file in others)
        raise KneeformerError("\n".join([*lines, "write the meshes into another folder"]))


def _is_of_meshes(content: object) -> bool:
    return isinstance(content, dict) and content.keys() == {"space", "structures"}


def _label_maps(source: Path) -> dict[str, Path]:
    """Files by the names of their cases. Raises KneeformerError: none, or two of one name."""
    if source.is_file():
        return {composed(source.name[: -len(file_ending(source))]): source}
    found = image_folder(source)
    if found.duplicates:
        raise KneeformerError("\n".join(found.duplicates.values()))
    if not found.files:
        raise KneeformerError(f"{source}: no label maps here; endings known: {', '.join(FILE_ENDINGS)}")
    return found.files


def export_case(export: Export) -> list[str]:
    """Write the surfaces of one label map, as `MeshFiles.write`.

    Raises:
        KneeformerError: the file is no label map, or its values or segments differ from the scheme.
    """
    path = export.labels
    image = read_label_map(path)
    meaning = export.scheme or meaning_of(path, image.array)
    if problems := meaning_problems(path, image.array, meaning):
        raise KneeformerError("\n".join(problems))
    return export.files.write(export.output, export.case, image.array, image.grid, meaning)


def meaning_of(path: Path, labels: np.ndarray) -> LabelScheme:
    """The scheme of a label map, from the segments of its header or, without any, from its values.

    Raises:
        KneeformerError: it is no label map.
    """
    if labels.dtype.kind == "f":
        raise KneeformerError(f"{path}: its voxels are not whole numbers; export label values")
    values = segments(path) or {f"label_{value}": value for value in np.unique(labels).tolist() if value}
    if len(values) > _MOST:
        raise KneeformerError(
            f"{path}: {len(values)} different values, as a scan has; give label maps, or name the dataset "
            f"that declares so many labels with -d"
        )
    try:
        return LabelScheme.from_json({"background": 0, **values})
    except KneeformerError as fault:
        raise KneeformerError(f"{path}: {fault}") from fault
