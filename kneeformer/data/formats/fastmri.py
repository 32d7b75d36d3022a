"""Raw Cartesian k-space in the HDF5 layout of fastMRI (Zbontar et al. 2018); read, never written.

`kspace` is (slices, coils, rows, columns), or (slices, rows, columns) of one coil; rows are the readout,
columns the phase encoding. An ISMRMRD header in `ismrmrd_header` tells what was measured and how large it is;
a file without one is read too, by rules that are logged.
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np

from kneeformer.data.formats.base import FileFault, Format, Image, damaged
from kneeformer.geometry.grid import Grid

_RECONSTRUCTIONS = ("reconstruction_rss", "reconstruction_esc")
_NEEDED = (
    "fastMRI's layout has `kspace`, complex, as (slices, coils, rows, columns) or (slices, rows, columns)"
)


def _read(path: Path) -> Image:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            kspace, header, shape = _kspace(file), _header(file, path), _shape_of_reconstruction(file)
    except FileFault:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as fault:  # h5py raises all of them
        raise damaged(f"not a whole HDF5 file: {' '.join(str(fault).split())[:200]}") from fault
    if not np.isfinite(kspace.view(np.float32)).all():
        raise FileFault("its k-space holds NaN or infinite samples; export it again")
    if not kspace.any():
        raise FileFault("its k-space is all zero; export it again")
    coils_first = np.moveaxis(kspace, 1, 0) if kspace.ndim == 4 else kspace[None]
    if header is None:
        _log().warning("%s: %s", path, _rule_without_header(coils_first, shape))
        return Image(coils_first, _grid(coils_first, shape, (1.0, 1.0, 1.0)))
    _clear_padding(coils_first, header)
    return Image(coils_first, _grid(coils_first, _matrix(header), _spacing(header)))


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as fault:
        raise FileFault("k-space files need h5py: pip install 'kneeformer[kspace]'") from fault
    module: ModuleType = h5py
    return module


def _kspace(file: Any) -> np.ndarray:
    if "kspace" not in file:
        raise FileFault(f"holds no `kspace`, but {', '.join(sorted(file)) or 'nothing'}; {_NEEDED}")
    stored = file["kspace"]
    if stored.dtype.kind != "c" or len(stored.shape) not in (3, 4) or 0 in stored.shape:
        shape = " x ".join(map(str, stored.shape))
        raise FileFault(f"its `kspace` is {stored.dtype} of {shape}; {_NEEDED}")
    return np.ascontiguousarray(stored[()], np.complex64)


def _header(file: Any, path: Path) -> ElementTree.Element | None:
    if "ismrmrd_header" not in file:
        return None
    text = file["ismrmrd_header"][()]
    content = text if isinstance(text, bytes) else str(text).encode()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise damaged("its ismrmrd_header defines XML entities")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as fault:
        raise damaged(f"its ismrmrd_header is no XML: {fault}") from fault


def _shape_of_reconstruction(file: Any) -> tuple[int, int] | None:
    """(rows, columns) of the reconstruction that the file holds, if any."""
    found = next((file[name].shape for name in _RECONSTRUCTIONS if name in file), None)
    return None if found is None or len(found) != 3 else (int(found[1]), int(found[2]))


def _number(header: ElementTree.Element, field: str, kind: type = float) -> Any:
    """A number of the header. Raises FileFault: it is not there or none."""
    path = ".//" + "/".join(f"{{*}}{part}" for part in field.split("/"))
    element = header.find(path)
    try:
        number = kind((element.text or "").strip()) if element is not None else None
    except ValueError:
        number = None
    if number is None or not np.isfinite(number):
        said = "nothing" if element is None else repr(element.text)
        raise FileFault(f"its ismrmrd_header says {said} for {field}; correct it or remove the header")
    return number


def _clear_padding(kspace: np.ndarray, header: ElementTree.Element) -> None:
    """Set to zero what the header says was not measured: padding of the columns on either side."""
    encoded = _number(header, "encodedSpace/matrixSize/y", int)
    limits = "encodingLimits/kspace_encoding_step_1"
    left = encoded // 2 - _number(header, f"{limits}/center", int)
    right = left + _number(header, f"{limits}/maximum", int) + 1
    if encoded == kspace.shape[-1] and 0 <= left < right <= encoded:
        kspace[..., :left] = 0
        kspace[..., right:] = 0


def _matrix(header: ElementTree.Element) -> tuple[int, int]:
    return _number(header, "reconSpace/matrixSize/x", int), _number(header, "reconSpace/matrixSize/y", int)


def _spacing(header: ElementTree.Element) -> tuple[float, float, float]:
    """mm along (slices, rows, columns): field of view over matrix, of what was encoded."""
    fields = [_number(header, f"encodedSpace/fieldOfView_mm/{axis}") for axis in "zxy"]
    sizes = [_number(header, f"encodedSpace/matrixSize/{axis}", int) for axis in "zxy"]
    if min(fields) <= 0 or min(sizes) <= 0:
        raise FileFault(f"its ismrmrd_header says a field of view of {fields} mm over {sizes}; correct it")
    z, y, x = (field / size for field, size in zip(fields, sizes, strict=True))
    return z, y, x


def _grid(kspace: np.ndarray, wanted: tuple[int, int] | None, spacing: tuple[float, float, float]) -> Grid:
    """The grid of the reconstruction: as wanted, or a square of what there is where there is less."""
    slices, rows, columns = kspace.shape[1:]
    height, width = wanted or (min(rows, columns),) * 2
    if not (0 < height <= rows and 0 < width <= columns):
        height = width = min(rows, columns)
    return Grid((slices, height, width), spacing)


def _rule_without_header(kspace: np.ndarray, shape: tuple[int, int] | None) -> str:
    size = "that of its reconstruction" if shape else "the largest square"
    return (
        f"no ismrmrd_header: spacing is taken as 1 mm, the matrix as {size}, columns of zeros as unmeasured"
    )


def _unwritable(name: str, image: Image) -> list[tuple[str, bytes]]:
    raise FileFault("k-space is read, not written; choose an image format")


def _log() -> logging.Logger:
    return logging.getLogger(__name__)


FASTMRI = Format((".h5", ".hdf5"), _read, _unwritable, holds_kspace=True)
