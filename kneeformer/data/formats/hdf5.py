"""Raw k-space in HDF5 files, whose layouts are recognised by their content; read, never written."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kneeformer.data.formats.base import FileFault, Format, Image, damaged
from kneeformer.data.formats.fastmri import read_fastmri
from kneeformer.data.formats.ismrmrd import read_ismrmrd
from kneeformer.data.formats.skm_tea import read_skm_tea

_LAYOUTS = (
    "fastMRI's layout has `kspace`, complex, as (slices, coils, rows, columns) or (slices, rows, columns), "
    "SKM-TEA's as (x, ky, kz, echoes, coils), and ISMRMRD's a group with `xml` and `data`"
)


def _read(path: Path) -> Image:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            image = _reader(file)(path)
    except FileFault:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as fault:  # h5py raises all of them
        raise damaged(f"not a whole HDF5 file: {' '.join(str(fault).split())[:200]}") from fault
    if not np.isfinite(image.array.view(np.float32)).all():
        raise FileFault("its k-space holds NaN or infinite samples; export it again")
    if not image.array.any():
        raise FileFault("its k-space is all zero; export it again")
    return image


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as fault:
        raise FileFault("k-space files need h5py: pip install 'kneeformer[kspace]'") from fault
    module: ModuleType = h5py
    return module


def _reader(file: Any) -> Callable[[Path], Image]:
    """Choose the reader for the layout of an opened file. Raises FileFault: unknown layout."""
    if hasattr(kspace := file.get("kspace"), "dtype"):  # a group has none
        if kspace.dtype.kind != "c" or len(kspace.shape) not in (3, 4, 5) or 0 in kspace.shape:
            shape = " x ".join(map(str, kspace.shape))
            raise FileFault(f"its `kspace` is {kspace.dtype} of {shape}; {_LAYOUTS}")
        read = read_skm_tea if len(kspace.shape) == 5 else read_fastmri
        return lambda path: read(file, path)
    if (group := next(filter(_holds_readouts, file.values()), None)) is not None:
        return lambda path: read_ismrmrd(group, path)
    raise FileFault(f"holds no array `kspace`, but {', '.join(sorted(file)) or 'nothing'}; {_LAYOUTS}")


def _holds_readouts(entry: Any) -> bool:
    """Tell a group with a header and a table of readouts, as ISMRMRD has it, from other entries."""
    if not hasattr(entry, "keys") or not {"xml", "data"} <= set(entry.keys()):
        return False
    columns = getattr(getattr(entry["data"], "dtype", None), "names", None)
    return {"head", "data"} <= set(columns or ())


def _unwritable(name: str, image: Image) -> list[tuple[str, bytes]]:
    raise FileFault("k-space is read, not written; choose an image format")


HDF5 = Format((".h5", ".hdf5"), _read, _unwritable, holds_kspace=True)
