"""Files of a case as a scan: channels, mask and other side, all stored as its first channel is."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case
from kneeformer.data.images import on_grid, read_image
from kneeformer.data.label_map import read_label_map
from kneeformer.geometry.grid import Grid
from kneeformer.tasks.cases import Scan


def read_scan(case: Case) -> Scan:
    """The case's images and mask, stored as the first channel is.

    Raises:
        KneeformerError: channels of different voxels.
    """
    first = read_image(case.images[0])
    grid = first.grid
    others = [on_grid(read_image(path), grid, path, case.images[0].name) for path in case.images[1:]]
    mask = None if case.mask is None else labels_on(grid, case.mask)
    kspace = np.iscomplexobj(first.array)
    array = first.array if kspace else np.stack([c.array for c in (first, *others)])
    return Scan(array, grid, mask, case.side, facts=first.facts)


def read_other_side(case: Case) -> Scan:
    """A whole bone: its label map is the mask."""
    scan = read_scan(case)
    return scan if case.label is None else replace(scan, mask=labels_on(scan.grid, case.label))


def labels_on(grid: Grid, file: Path) -> np.ndarray:
    """A label map, stored as the grid is. Raises KneeformerError: it has other voxels."""
    return on_grid(read_label_map(file), grid, file, "its scan").array
