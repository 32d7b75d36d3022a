"""Import of a folder of 3D Slicer as a dataset: volumes, and segmentations whose structures have names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.data.disk import DiskError
from kneeformer.data.images import read_image, write_image
from kneeformer.data.segment_names import plain_name
from kneeformer.data.segmentation_file import (
    Segment,
    read_segmentation,
    read_segments,
    write_segmentation,
)
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.regrid import pasted, resampled, whole_shift
from kneeformer.progress import Progress
from kneeformer.workflows.named_structures import (
    NamedStructure,
    labels_of,
    masks_of,
    named_structures,
    painted,
    with_parts,
)
from kneeformer.workflows.new_dataset import write_description, written_dataset
from kneeformer.workflows.slicer_folder import SlicerCase, slicer_folder


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        structures: with their values and the number of cases that have each.
        labelled, unlabelled: number of cases.
        notes: a line for each thing that did not fit, or was changed to fit.
    """

    structures: list[NamedStructure]
    labelled: int
    unlabelled: int
    notes: list[str]


def import_slicer(
    source: Path, folder: Path, channel: str, wanted: Sequence[str] | None, watch: Progress
) -> Imported:
    """Write a dataset folder, in NRRD, of the volumes and segmentations in a folder of 3D Slicer.

    Structures are matched by name, capitals and separators aside; where a case lacks one it is background. A
    structure that is a part of another makes a region of that one. Other voxels that two structures
    share go to the later one. Segmentations are put on the grids of their volumes. Volumes without a
    segmentation go to imagesUn.

    Args:
        folder: to write, $kf_raw/DatasetNNN_Name; it must not exist.
        channel: name of the volumes' channel, as "PD" or "CT".
        wanted: names of the structures to import; None imports all.

    Raises:
        KneeformerError: no case could be imported, or a wanted structure is nowhere.
        DiskError: the disk took no more; nothing is left of the dataset.
    """
    found = slicer_folder(source)
    notes = list(found.ignored)
    structures = _structures(source, found.cases, wanted, notes)
    numbers = {"imagesTr": 0, "imagesUn": 0}
    with written_dataset(folder) as beside:
        for done, case in enumerate(found.cases):
            watch("Importing", done, len(found.cases))
            try:
                numbers[_import(case, beside, structures, notes)] += 1
            except DiskError:  # every further case would be missing too
                raise
            except KneeformerError as fault:
                notes.append(str(fault))
        watch("Importing", len(found.cases), len(found.cases))
        if not numbers["imagesTr"]:
            raise KneeformerError("\n  ".join([f"{source}: no case could be imported:", *notes]))
        labels, order = labels_of(structures)
        write_description(beside, {"0": channel}, labels, numbers["imagesTr"], ".nrrd", order)
    return Imported(structures, numbers["imagesTr"], numbers["imagesUn"], notes)


def _structures(
    source: Path, cases: Sequence[SlicerCase], wanted: Sequence[str] | None, notes: list[str]
) -> list[NamedStructure]:
    files = [case.segmentation for case in cases if case.segmentation is not None]
    if not files:
        raise KneeformerError(
            "\n  ".join(
                [
                    f"{source}: no volume has a segmentation; save volumes as NRRD or NIfTI, and beside each "
                    f"its segmentation as VOLUME.seg.nrrd",
                    *notes,
                ]
            )
        )
    segments = [read_segments(file) for file in files]
    structures = named_structures(segments)
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
        structures = with_parts(structures, map(read_segmentation, files))
    return structures


def _import(case: SlicerCase, folder: Path, structures: Sequence[NamedStructure], notes: list[str]) -> str:
    """Write a case's files, and return the folder of its image. Raises KneeformerError: one is unreadable."""
    image = read_image(case.volume)
    labels = None if case.segmentation is None else _labels(case, image.grid, structures, notes)
    place = "imagesUn" if labels is None else "imagesTr"
    write_image(folder / place / f"{case.name}_0000.nrrd", image.array, image.grid)
    if labels is not None:
        segments = [Segment(s.name, s.value, colour=s.colour) for s in structures]
        write_segmentation(folder / "labelsTr" / f"{case.name}.nrrd", labels, image.grid, segments)
    return place


def _labels(
    case: SlicerCase, grid: Grid, structures: Sequence[NamedStructure], notes: list[str]
) -> np.ndarray | None:
    """The label map on the volume's grid; None where it holds no structure."""
    assert case.segmentation is not None
    segmentation = read_segmentation(case.segmentation)
    keys = {s.key for s in structures}
    masks = {key: mask for key, mask in masks_of(segmentation).items() if key in keys}
    own, first = segmentation.grid, whole_shift(segmentation.grid, grid)
    if first is None:
        notes.append(f"{case.segmentation}: on another grid than {case.volume.name}; resampled onto it")
        moved = {key: resampled(mask, own, grid) for key, mask in masks.items()}
    else:
        moved = {key: pasted(mask, first, grid) for key, mask in masks.items()}
        outside = sum(int(masks[key].sum()) - int(moved[key].sum()) for key in masks)
        if outside:
            notes.append(f"{case.segmentation}: {outside} voxels lie outside of {case.volume.name}; left out")
    labels, lines = painted(structures, moved, grid.shape)
    notes += [f"{case.segmentation}: {line}" for line in lines]
    if labels.any():
        return labels
    notes.append(f"{case.segmentation}: holds no structure; its volume goes to imagesUn")
    return None
