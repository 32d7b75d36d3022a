"""The one list of file formats. A new one is a module in this folder and a line here."""

from pathlib import Path

from kneeformer.data.formats.base import Format
from kneeformer.data.formats.dicom import DICOM
from kneeformer.data.formats.hdf5 import HDF5
from kneeformer.data.formats.metaimage import META_IMAGE
from kneeformer.data.formats.nifti import NIFTI
from kneeformer.data.formats.nrrd import NRRD

FORMATS: tuple[Format, ...] = (NRRD, NIFTI, META_IMAGE, HDF5, DICOM)
BY_ENDING = {ending: form for form in FORMATS for ending in form.endings}  # longer endings first


def ending_of(path: Path) -> str | None:
    """The known ending that a file's name carries, in any case of letters; None if there is none."""
    return next((ending for ending in BY_ENDING if path.name.lower().endswith(ending)), None)


def format_of(path: Path) -> Format | None:
    """The format of a file, by its ending, or by its content if the ending is unknown."""
    if (ending := ending_of(path)) is not None:
        return BY_ENDING[ending]
    return next((form for form in FORMATS if form.recognises and form.recognises(path)), None)
