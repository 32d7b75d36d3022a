"""Reading of a case's files as a scan: all in the axis order and directions of its first channel."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case
from kneeformer.data.images import on_grid, read_image
from kneeformer.data.label_map import read_label_map
from kneeformer.geometry.grid import Grid
from kneeformer.tasks.cases import Scan


def read_scan(case: Case) -> Scan:
    """Read the case's images and mask, in the axes of the first channel.

    Raises:
        KneeformerError: their grids differ.
    """
    first = read_image(case.images[0])
    grid = first.grid
    others = [on_grid(read_image(path), grid, path, case.images[0].name) for path in case.images[1:]]
    mask = None if case.mask is None else labels_on(grid, case.mask)
    kspace = np.iscomplexobj(first.array)
    array = first.array if kspace else np.stack([c.array for c in (first, *others)])
    return Scan(array, grid, mask, case.side, facts=first.facts)


def read_other_side(case: Case) -> Scan:
    """Read the scan of a whole bone, with its label map as the mask."""
    scan = read_scan(case)
    return scan if case.label is None else replace(scan, mask=labels_on(scan.grid, case.label))


def labels_on(grid: Grid, file: Path) -> np.ndarray:
    """Read a label map, in the axes of a grid. Raises KneeformerError: it has another grid."""
    return on_grid(read_label_map(file), grid, file, "its scan").array
