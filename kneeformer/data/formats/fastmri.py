"""Raw Cartesian k-space in the HDF5 layout of fastMRI (Zbontar et al. 2018).

`kspace` is (slices, coils, rows, columns), or (slices, rows, columns) of one coil; rows are the readout,
columns the phase encoding. An ISMRMRD header in `ismrmrd_header` tells what was measured and how large it is;
a file without one is read too, by rules that are logged. The patient's orientation is unknown.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.formats.base import ORIENTATION_UNKNOWN, Image
from kneeformer.data.formats.ismrmrd_header import Header, encoded_spacing, matrix, number, parse_header
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid

_log = logging.getLogger(__name__)

_RECONSTRUCTIONS = ("reconstruction_rss", "reconstruction_esc")


def read_fastmri(file: Any, path: Path) -> Image:
    """The k-space of an opened file whose `kspace` is complex and of three or four axes. Raises FileFault."""
    stored = np.ascontiguousarray(file["kspace"][()], np.complex64)
    kspace = np.moveaxis(stored, 1, 0) if stored.ndim == 4 else stored[None]
    if (header := _header(file)) is None:
        shape = _shape_of_reconstruction(file)
        _log.warning("%s: %s", path, _rule_without_header(shape))
        return Image(kspace, _grid(kspace, shape, (1.0, 1.0, 1.0)), ORIENTATION_UNKNOWN)
    _clear_padding(kspace, header)
    grid = _grid(kspace, matrix(header, "reconSpace")[1:], encoded_spacing(header))
    return Image(kspace, grid, ORIENTATION_UNKNOWN)


def _header(file: Any) -> Header | None:
    if "ismrmrd_header" not in file:
        return None
    text = file["ismrmrd_header"][()]
    return parse_header(text if isinstance(text, bytes) else str(text).encode())


def _shape_of_reconstruction(file: Any) -> tuple[int, int] | None:
    """(rows, columns) of the reconstruction that the file holds, if any."""
    found = next((file[name].shape for name in _RECONSTRUCTIONS if name in file), None)
    return None if found is None or len(found) != 3 else (int(found[1]), int(found[2]))


def _clear_padding(kspace: np.ndarray, header: Header) -> None:
    """Set to zero what the header says was not measured: padding of the columns on both sides."""
    encoded = int(number(header, "encodedSpace/matrixSize/y", int))
    limits = "encodingLimits/kspace_encoding_step_1"
    left = encoded // 2 - int(number(header, f"{limits}/center", int))
    right = left + int(number(header, f"{limits}/maximum", int)) + 1
    if encoded == kspace.shape[-1] and 0 <= left < right <= encoded:
        kspace[..., :left] = 0
        kspace[..., right:] = 0


def _grid(kspace: np.ndarray, wanted: tuple[int, int] | None, spacing: Spacing) -> Grid:
    """The grid of the reconstruction: of the wanted size, or a square of what there is if that is less."""
    slices, rows, columns = kspace.shape[1:]
    height, width = wanted or (min(rows, columns),) * 2
    if not (0 < height <= rows and 0 < width <= columns):
        height = width = min(rows, columns)
    return Grid((slices, height, width), spacing)


def _rule_without_header(shape: tuple[int, int] | None) -> str:
    size = "that of its reconstruction" if shape else "the largest square"
    return (
        f"no ismrmrd_header: spacing is taken as 1 mm, the matrix as {size}, columns of zeros as unmeasured"
    )
