"""Import of volumes and segmentations as a dataset; structures are matched by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.data import dicom_segmentation, segmentation_file
from kneeformer.data.disk import DiskError
from kneeformer.data.formats.dicom_planes import is_dicom
from kneeformer.data.images import read_image, write_image
from kneeformer.data.segment_names import plain_name
from kneeformer.data.segmentation_file import Segment, Segmentation, write_segmentation
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.regrid import pasted, resampled, whole_shift
from kneeformer.progress import Progress
from kneeformer.sides import Side
from kneeformer.workflows.named_structures import (
    BACKGROUND,
    NamedStructure,
    labels_of,
    masks_of,
    named_structures,
    painted,
    with_parts,
)
from kneeformer.workflows.new_dataset import write_description


@dataclass(frozen=True)
class ImportedCase:
    """Volumes of a case, and its segmentation if there is one: NRRD with named segments, or DICOM SEG.

    Attributes:
        volumes: one file per channel.
    """

    name: str
    volumes: tuple[Path, ...]
    segmentation: Path | None
    side: Side | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        structures: with their values and numbers of cases.
        labelled, unlabelled: numbers of cases.
        cases: names of all of them.
        notes: a line for each thing that was left out or changed.
    """

    structures: list[NamedStructure]
    labelled: int
    unlabelled: int
    cases: list[str]
    notes: list[str]


def import_cases(
    source: Path,
    cases: Sequence[ImportedCase],
    folder: Path,
    channels: Sequence[str],
    wanted: Sequence[str] | None,
    notes: list[str],
    watch: Progress,
) -> Imported:
    """Write the cases, as NRRD, and dataset.json into a folder.

    Structures are matched by name, ignoring capitals and separators; a structure that a case lacks is
    background there. A structure that contains another becomes a region. Other voxels of two structures go to
    the later one. Segmentations are resampled to the grids of their volumes. Volumes without a segmentation
    go to imagesUn; without any segmentation, dataset.json has no labels.

    Args:
        source: folder of the cases, named in errors.
        channels: names of the channels, such as "PD" or "CT", in the order of each case's volumes.
        wanted: names of the structures to import; None imports all.
        notes: lines to put before those of the import.

    Raises:
        KneeformerError: no case could be imported, or no case has a wanted structure.
        DiskError: the disk is full or fails.
    """
    notes = list(notes)
    structures = _structures(source, cases, wanted, notes)
    written: dict[str, list[ImportedCase]] = {"imagesTr": [], "imagesUn": []}
    for done, case in enumerate(cases):
        watch("Importing", done, len(cases))
        try:
            written[_import(case, folder, structures, notes)].append(case)
        except DiskError:  # every further case would be missing too
            raise
        except KneeformerError as fault:
            notes.append(str(fault))
    watch("Importing", len(cases), len(cases))
    labelled, unlabelled = (len(of) for of in written.values())
    if not labelled and (structures or not unlabelled):
        raise KneeformerError("\n  ".join([f"{source}: no case could be imported:", *notes]))
    labels, order = labels_of(structures)
    every = [case for of in written.values() for case in of]
    named = {str(number): channel for number, channel in enumerate(channels)}
    write_description(folder, named, labels, labelled, ".nrrd", order, _about(every))
    return Imported(structures, labelled, unlabelled, [case.name for case in every], notes)


def _about(cases: Sequence[ImportedCase]) -> dict[str, Mapping[str, str]]:
    """`subjects` and `sides` of dataset.json, where they are known."""
    subjects = {case.name: case.subject for case in cases if case.subject is not None}
    sides = {case.name: case.side for case in cases if case.side is not None}
    return {key: found for key, found in (("subjects", subjects), ("sides", sides)) if found}


def _structures(
    source: Path, cases: Sequence[ImportedCase], wanted: Sequence[str] | None, notes: list[str]
) -> list[NamedStructure]:
    files = [case.segmentation for case in cases if case.segmentation is not None]
    segments = [_segments(file) for file in files]
    structures = named_structures(segments)
    notes += _left_out(segments)
    if wanted is not None:
        known = {s.key for s in structures}
        if missing := [name for name in wanted if plain_name(name) not in known]:
            names = ", ".join(s.name for s in structures)
            raise KneeformerError(f"{source}: no segment is called {', '.join(missing)}; there are {names}")
        keys = {plain_name(name) for name in wanted}
        notes += [f"{s.name}: left out, in {s.cases} cases" for s in structures if s.key not in keys]
        structures = [s for s in structures if s.key in keys]
    notes += [
        f"{s.name}: only in {s.cases} of {len(files)} segmentations; background in the others"
        for s in structures
        if s.cases < len(files)
    ]
    if any(segment.layer for of_file in segments for segment in of_file):
        structures = with_parts(structures, map(_segmentation, files))
    return structures


def _left_out(files: Sequence[Sequence[Segment]]) -> list[str]:
    """A line where segments are background by their names."""
    found = [s.name for of_file in files for s in of_file if plain_name(s.name) == BACKGROUND]
    return [f"{found[0]}: is background, in {len(found)} cases, and no structure"] if found else []


def _import(case: ImportedCase, folder: Path, structures: Sequence[NamedStructure], notes: list[str]) -> str:
    """Write a case's files, and return the folder of its images.

    Raises:
        KneeformerError: one is unreadable, or the channels have different grids.
    """
    first = read_image(case.volumes[0])
    grid = first.grid
    images = [first, *(read_image(volume).reoriented_to(grid) for volume in case.volumes[1:])]
    for volume, image in zip(case.volumes[1:], images[1:], strict=True):
        if mismatch := grid.mismatch(image.grid):
            raise KneeformerError(f"{volume}: another grid than {case.volumes[0]}: {mismatch}; left out")
    labels = None if case.segmentation is None else _labels(case, grid, structures, notes)
    place = "imagesUn" if labels is None else "imagesTr"
    for channel, image in enumerate(images):
        write_image(folder / place / f"{case.name}_{channel:04d}.nrrd", image.array, grid)
    if labels is not None:
        segments = [Segment(s.name, s.value, colour=s.colour) for s in structures]
        write_segmentation(folder / "labelsTr" / f"{case.name}.nrrd", labels, grid, segments)
    return place


def _labels(
    case: ImportedCase, grid: Grid, structures: Sequence[NamedStructure], notes: list[str]
) -> np.ndarray | None:
    """The label map on the volume's grid; None where it holds no structure."""
    assert case.segmentation is not None
    volume = case.volumes[0].name
    segmentation = _segmentation(case.segmentation)
    keys = {s.key for s in structures}
    masks = {key: mask for key, mask in masks_of(segmentation).items() if key in keys}
    own, first = segmentation.grid, whole_shift(segmentation.grid, grid)
    if first is None:
        notes.append(f"{case.segmentation}: on another grid than {volume}; resampled onto it")
        moved = {key: resampled(mask, own, grid) for key, mask in masks.items()}
    else:
        moved = {key: pasted(mask, first, grid) for key, mask in masks.items()}
        outside = sum(int(masks[key].sum()) - int(moved[key].sum()) for key in masks)
        if outside:
            notes.append(f"{case.segmentation}: {outside} voxels lie outside of {volume}; left out")
    labels, lines = painted(structures, moved, grid.shape)
    notes += [f"{case.segmentation}: {line}" for line in lines]
    if labels.any():
        return labels
    notes.append(f"{case.segmentation}: holds no structure; its volume goes to imagesUn")
    return None


def _segments(path: Path) -> list[Segment]:
    if is_dicom(path):
        return dicom_segmentation.read_dicom_segments(path)
    return segmentation_file.read_segments(path)


def _segmentation(path: Path) -> Segmentation:
    if is_dicom(path):
        return dicom_segmentation.read_dicom_segmentation(path)
    return segmentation_file.read_segmentation(path)
