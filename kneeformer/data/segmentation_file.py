"""Segmentations of 3D Slicer: label maps in NRRD whose header names the segments, with values and colours.

A file has layers where segments overlap, and its extent is often cropped to its segments.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.data.disk import in_words
from kneeformer.data.files import write_bytes
from kneeformer.data.formats import nrrd
from kneeformer.data.formats.base import FileFault, Image
from kneeformer.data.images import write_image
from kneeformer.data.label_map import as_label_map, not_whole
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme

_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer|Color|Tags):=(.*)")
_LONGEST = 1 << 20  # bytes of a line: voxels of a file without an empty line are none
_TERM = re.compile(r"TerminologyEntry:([^|]*)")
_NO_TERM = "SCT^85756007^Tissue~SCT^85756007^Tissue"
_TERMS = {
    name: f"SCT^123037004^Anatomical Structure~SCT^{code}^{name.capitalize()}"
    for name, code in (("femur", 71341001), ("tibia", 12611008), ("patella", 64234005), ("fibula", 87342007))
}

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1

_BONE: Colour = (0.945, 0.839, 0.569)
_CARTILAGE: Colour = (0.435, 0.722, 0.824)
_OTHERS: tuple[Colour, ...] = (
    (0.847, 0.396, 0.310),
    (0.502, 0.682, 0.502),
    (0.867, 0.510, 0.396),
    (0.565, 0.933, 0.565),
    (0.565, 0.478, 0.722),
    (0.753, 0.408, 0.345),
)


@dataclass(frozen=True)
class Segment:
    """A segment in the header of a file.

    Attributes:
        value: in its layer; two segments of two layers can have one value.
        colour: None where the file gives none.
        terminology: Slicer's entry, "context~category~type~...~"; None where the file gives none.
    """

    name: str
    value: int
    layer: int = 0
    colour: Colour | None = None
    terminology: str | None = None


@dataclass(frozen=True)
class Segmentation:
    """Segments and their voxels.

    Attributes:
        layers: (layers, z, y, x) whole numbers.
    """

    segments: tuple[Segment, ...]
    layers: np.ndarray
    grid: Grid

    def mask(self, segment: Segment) -> np.ndarray:
        """(z, y, x) bool; empty where the file does not have the segment's layer."""
        if segment.layer >= len(self.layers):
            return np.zeros(self.grid.shape, bool)
        return np.asarray(self.layers[segment.layer] == segment.value)


def read_segments(path: Path) -> list[Segment]:
    """Segments with a name and a value in the header of an NRRD file, in its order; of other files, none.

    Reads the header alone. A file that cannot be read names none: its reader says why.
    """
    found: dict[str, dict[str, str]] = {}
    if not path.name.lower().endswith((".nrrd", ".nhdr")):
        return []
    try:
        with path.open("rb") as handle:
            while line := handle.readline(_LONGEST).rstrip(b"\r\n"):
                if (field := _FIELD.fullmatch(line.decode("utf-8", "replace"))) is not None:
                    found.setdefault(field[1], {})[field[2]] = field[3].strip()
    except OSError:
        return []
    return [
        Segment(
            s["Name"],
            int(s["LabelValue"]),
            int(s["Layer"]) if re.fullmatch("[0-9]{1,9}", s.get("Layer", "")) else 0,
            _colour(s.get("Color", "")),
            None if (term := _TERM.search(s.get("Tags", ""))) is None else term[1],
        )
        for s in found.values()
        if "Name" in s and re.fullmatch("[0-9]{1,9}", s.get("LabelValue", ""))
    ]


def read_segmentation(path: Path) -> Segmentation:
    """Read an NRRD file with all its layers.

    Raises:
        KneeformerError: the file cannot be read, names no segments, or its voxels are no whole numbers.
    """
    segments = read_segments(path)
    if not segments:
        raise KneeformerError(f"{path}: its header names no segments; save it as a segmentation in 3D Slicer")
    try:
        layers, grid = nrrd.read_layers(path)
    except FileFault as fault:
        raise KneeformerError(f"{path}: {fault}") from fault
    except OSError as fault:
        raise KneeformerError(in_words(fault, path)) from fault
    if not_whole(layers):
        raise KneeformerError(f"{path}: its voxels are no whole numbers; save it as binary label map")
    return Segmentation(tuple(segments), as_label_map(layers), grid)


def write_segmentation(path: Path, labels: np.ndarray, grid: Grid, segments: Sequence[Segment]) -> None:
    """Write a (z, y, x) label map as NRRD of one layer, whose header names its segments.

    Raises:
        DiskError: the file cannot be written.
    """
    z, y, x = (n - 1 for n in labels.shape)
    lines = []
    for number, segment in enumerate(segments):
        colour = segment.colour or colour_of(segment.name, number)
        fields = {
            "Color": " ".join(f"{share:.6g}" for share in colour),
            "ColorAutoGenerated": "0",
            "Extent": f"0 {x} 0 {y} 0 {z}",
            "ID": f"Segment_{number + 1}",
            "LabelValue": str(segment.value),
            "Layer": "0",
            "Name": re.sub(r"[\x00-\x1f\x7f]", " ", segment.name),
            "NameAutoGenerated": "0",
            "Tags": f"TerminologyEntry:{segment.terminology or _terminology(segment.name)}|",
        }
        lines += [f"Segment{number}_{key}:={text}" for key, text in fields.items()]
    lines += [
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]
    ((_, content),) = nrrd.encode(path.name, Image(labels, grid), lines)
    write_bytes(path, content)


def write_label_map(path: Path, labels: np.ndarray, grid: Grid, scheme: LabelScheme) -> None:
    """Write a (z, y, x) label map; as NRRD, its header names the structures for 3D Slicer.

    Regions that overlap are segments of one layer: of each the voxels of the value that is written for it.
    """
    if path.name.lower().endswith(".nrrd"):
        segments = [Segment(name, value) for name, value in zip(scheme.names, scheme.painted, strict=True)]
        write_segmentation(path, labels, grid, segments)
    else:
        write_image(path, labels, grid)


def colour_of(name: str, number: int) -> Colour:
    """The colour of a structure by its name; of others one by their number."""
    plain = name.casefold()
    if "cartilage" in plain:
        return _CARTILAGE
    if any(bone in plain for bone in (*_TERMS, "bone")):
        return _BONE
    return _OTHERS[number % len(_OTHERS)]


def _terminology(name: str) -> str:
    plain = name.casefold()
    term = next((t for bone, t in _TERMS.items() if bone in plain and "cartilage" not in plain), _NO_TERM)
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    return f"{context}~{term}~^^~Anatomic codes - DICOM master list~^^~^^"


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = (float(share) for share in text.split())
    except ValueError:
        return None
    return (red, green, blue)
