"""The XML header of ISMRMRD (Inati et al. 2017), which files of raw k-space carry."""

from xml.etree import ElementTree

import numpy as np

from kneeformer.data.formats.base import FileFault, damaged
from kneeformer.geometry.aliases import Size, Spacing

Header = ElementTree.Element
_AXES = "zxy"  # of a header: slices or partitions, rows (readout), columns (phase encoding)


def parse_header(content: bytes) -> Header:
    """Parse the header. Raises FileFault: no XML, or XML that defines entities."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise damaged("its ISMRMRD header defines XML entities")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as fault:
        raise damaged(f"its ISMRMRD header is not XML: {fault}") from fault


def number(header: Header, field: str, kind: type = float, otherwise: float | None = None) -> float:
    """A number of the first encoding, or `otherwise` if the header has no such field.

    Args:
        field: such as "encodedSpace/matrixSize/x".

    Raises:
        FileFault: it is required and missing, or is not a number.
    """
    element = header.find(".//" + "/".join(f"{{*}}{part}" for part in field.split("/")))
    if element is None and otherwise is not None:
        return otherwise
    try:
        found = kind((element.text or "").strip()) if element is not None else None
    except ValueError:
        found = None
    if found is None or not np.isfinite(found):
        said = "nothing" if element is None else repr(element.text)
        raise FileFault(f"its ISMRMRD header says {said} for {field}; correct it or export the file again")
    return float(found)


def matrix(header: Header, space: str) -> Size:
    """(slices, rows, columns) of the matrix of "encodedSpace" or "reconSpace". Raises FileFault."""
    z, x, y = (int(number(header, f"{space}/matrixSize/{axis}", int)) for axis in _AXES)
    if min(z, x, y) < 1:
        raise FileFault(f"its ISMRMRD header says a matrix of {x} x {y} x {z} for {space}; correct it")
    return z, x, y


def field_of_view(header: Header, space: str) -> Spacing:
    """Millimetres along (slices, rows, columns) of "encodedSpace" or "reconSpace". Raises FileFault."""
    z, x, y = (number(header, f"{space}/fieldOfView_mm/{axis}") for axis in _AXES)
    if min(z, x, y) <= 0:
        raise FileFault(f"its ISMRMRD header says a field of view of {x:g} x {y:g} x {z:g} mm; correct it")
    return z, x, y


def encoded_spacing(header: Header) -> Spacing:
    """Millimetres between voxels along (slices, rows, columns): field of view over matrix, as encoded."""
    sizes, fields = matrix(header, "encodedSpace"), field_of_view(header, "encodedSpace")
    z, y, x = (field / size for field, size in zip(fields, sizes, strict=True))
    return z, y, x


def image_shape(header: Header) -> Size:
    """Voxels, as they were encoded, within the field of view of "reconSpace": without oversampling."""
    sizes, fields = matrix(header, "encodedSpace"), field_of_view(header, "encodedSpace")
    wanted = field_of_view(header, "reconSpace")
    z, y, x = (max(1, min(n, round(n * w / f))) for n, f, w in zip(sizes, fields, wanted, strict=True))
    return z, y, x


def trajectory(header: Header) -> str:
    """The trajectory through k-space, in lower case: "cartesian" if the header does not say."""
    return _word(header, "trajectory", "cartesian")


def calibration_mode(header: Header) -> str:
    """The mode of coil calibration, in lower case: "embedded", ...; "" if the header does not say."""
    return _word(header, "parallelImaging/{*}calibrationMode", "")


def _word(header: Header, field: str, otherwise: str) -> str:
    element = header.find(f".//{{*}}encoding/{{*}}{field}")
    return otherwise if element is None else (element.text or "").strip().lower()
