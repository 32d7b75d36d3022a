"""Raw k-space of 3D scans in the HDF5 layout of SKM-TEA (Desai et al. 2021).

`kspace` is (x, ky, kz, echoes, coils), complex: the readout is already transformed, two axes are encoded.
Voxel sizes and orientation are in separate files of the dataset.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.formats.base import ORIENTATION_UNKNOWN, Image
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import to_kspace

_log = logging.getLogger(__name__)


def read_skm_tea(file: Any, path: Path) -> Image:
    """The first echo of an opened file whose `kspace` has five axes, a 3D scan; k-space along x as well."""
    x, columns, partitions, echoes, coils = file["kspace"].shape
    kspace = np.empty((coils, 1, partitions, x, columns), np.complex64)
    for coil in range(coils):
        hybrid = np.moveaxis(file["kspace"][:, :, :, 0, coil].astype(np.complex64), 2, 0)
        kspace[coil, 0] = to_kspace(hybrid, (1,))
    read = f"the first of {echoes} echoes is read" if echoes > 1 else "one echo"
    _log.warning("%s: SKM-TEA layout: %s, spacing is taken as 1 mm", path, read)
    return Image(kspace, Grid((partitions, x, columns), (1.0, 1.0, 1.0)), ORIENTATION_UNKNOWN)
