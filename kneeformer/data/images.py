"""Image files in and out, with their grids: NRRD, NIfTI and MetaImage; DICOM series in."""

from pathlib import Path

import numpy as np

from kneeformer.data.disk import DiskError, in_words
from kneeformer.data.files import write_bytes
from kneeformer.data.formats.base import FileFault, Image
from kneeformer.data.formats.registry import BY_ENDING, FORMATS, ending_of, format_of
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid

__all__ = [
    "FILE_ENDINGS",
    "KSPACE_ENDINGS",
    "READABLE_ENDINGS",
    "Image",
    "file_ending",
    "files_of",
    "on_grid",
    "output_ending",
    "read_image",
    "write_image",
    "written_endings",
]

FILE_ENDINGS = tuple(ending for ending, form in BY_ENDING.items() if not form.holds_kspace)
READABLE_ENDINGS = tuple(BY_ENDING)
KSPACE_ENDINGS = tuple(ending for ending, form in BY_ENDING.items() if form.holds_kspace)


def read_image(path: Path) -> Image:
    """Read a three-dimensional scalar file, raw k-space, or the DICOM series that a file belongs to.

    All is verified against its own sizes and checksums.

    Returns:
        The voxels (z, y, x) in the file's own type, NIfTI's scaled ones as floats, and their grid in LPS mm;
        of k-space its samples, (coils, slices, rows, columns) complex64 (see `formats.base.Image`). What a
        header leaves open is logged, with the rule that was taken.

    Raises:
        KneeformerError: missing, empty, cut short, damaged, no format that is known, a header number that
            cannot be right, sheared, not three-dimensional, or more than one value per voxel.
    """
    form = format_of(path) or BY_ENDING[file_ending(path)]
    try:
        if not path.is_file():
            raise KneeformerError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise KneeformerError(f"{path}: empty file (0 bytes); export it again")
        return form.read(path)
    except FileFault as fault:
        raise KneeformerError(f"{path}: {fault}") from fault
    except OSError as fault:
        raise KneeformerError(in_words(fault, path)) from fault


def files_of(path: Path) -> list[Path]:
    """The files of an image that are there: its own, and that of the voxels beside a .mhd or .nhdr."""
    ending = ending_of(path)
    beside = None if ending is None else BY_ENDING[ending].beside(path)
    return [file for file in (path, beside) if file is not None and file.is_file()]


def on_grid(image: Image, grid: Grid, path: Path, of: object) -> Image:
    """The image, stored as a grid of the same voxels is.

    Args:
        path: its file, for the message; `of` whose grid it is.

    Raises:
        KneeformerError: it has other voxels.
    """
    reoriented = image.reoriented_to(grid)
    if mismatch := grid.mismatch(reoriented.grid):
        raise KneeformerError(f"{path}: another grid than {of}: {mismatch}")
    return reoriented


def write_image(path: Path, array: np.ndarray, grid: Grid, description: str = "") -> None:
    """Write `array` (z, y, x) on `grid`, compressed; the file appears whole or not at all.

    A format of two files shows its header last, so that a header always has its voxels.

    Args:
        description: one line of ASCII, for the header; NIfTI keeps 80 characters of it.

    Raises:
        KneeformerError: no format that is known; DiskError: the file cannot be written.
    """
    try:
        image = Image(array, grid, description=description)
        *beside, (name, content) = BY_ENDING[file_ending(path)].encode(path.name, image)
        if beside:
            path.unlink(missing_ok=True)  # an old header must not speak of new voxels
        for other, data in beside:
            write_bytes(path.with_name(other), data)
        write_bytes(path.with_name(name), content)
    except FileFault as fault:
        raise KneeformerError(f"{path}: {fault}") from fault
    except OSError as fault:  # of an old header
        raise DiskError(in_words(fault, path)) from fault


def file_ending(path: Path) -> str:
    """The ending of the convention that `path` carries (".nii.gz", ".seg.nrrd", ...), in lower case.

    Raises:
        KneeformerError: it carries none.
    """
    ending = ending_of(path)
    if ending is None:
        raise KneeformerError(f"{path}: not an image file; endings known: {', '.join(FILE_ENDINGS)}")
    return ending


def written_endings(ending: str) -> tuple[str, ...]:
    """The endings of all files that `write_image` makes of one called `ending`."""
    return (ending, *(form.voxels[ending] for form in FORMATS if ending in form.voxels))


def output_ending(ending: str) -> str:
    """The ending of what is predicted of files with an ending: the same, or .nii.gz of k-space."""
    return ".nii.gz" if ending in KSPACE_ENDINGS else ending
