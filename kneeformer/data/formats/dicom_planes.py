"""Planes of DICOM files: where each frame lies in the patient, and how its stored values are scaled."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kneeformer.data.formats.base import FileFault, damaged, finite, positive

PIP = "pip install 'kneeformer[dicom]'"

_HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.20"  # High-Throughput JPEG 2000, which GDCM does not read


@dataclass(frozen=True)
class Plane:
    """One frame.

    Attributes:
        file, frame: those that hold it; frames are numbered from 0.
        size: (rows, columns).
        position: (3,) LPS mm of the first voxel's centre: ImagePositionPatient.
        axes: (2, 3) unit vectors along a row and along a column: ImageOrientationPatient.
        spacing: (2,) mm between rows, between columns: PixelSpacing.
        slope, intercept: value = slope * stored + intercept.
    """

    file: Path
    frame: int
    size: tuple[int, int]
    position: np.ndarray
    axes: np.ndarray
    spacing: np.ndarray
    slope: float
    intercept: float

    @property
    def depth(self) -> float:
        """mm along the normal of the plane."""
        return float(self.position @ np.cross(*self.axes))

    def __str__(self) -> str:
        return self.file.name if self.frame == 0 else f"{self.file.name}, frame {self.frame + 1}"


def is_dicom(path: Path) -> bool:
    """True where a file begins as DICOM files do: 128 bytes, then DICM."""
    try:
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False


def pydicom() -> ModuleType:
    """The library. Raises FileFault: it is not installed."""
    try:
        import pydicom as module
        import pydicom.pixels
    except ImportError as fault:
        raise FileFault(f"DICOM files need pydicom: {PIP}") from fault
    found: ModuleType = module
    return found


def read_header(file: Path, keywords: list[str] | None = None) -> Any:
    """The data set of a file without its voxels. Raises FileFault.

    Args:
        keywords: elements to read; None reads all.
    """
    with _lenient(file) as library:
        header = library.dcmread(file, stop_before_pixels=True, specific_tags=keywords)
        for keyword in keywords or ():
            header.get(keyword)  # pydicom parses a value when it is first asked for
        return header


def planes_of(file: Path, header: Any) -> list[Plane]:
    """The planes of a file, in the order of its frames. Raises FileFault."""
    with _lenient(file):
        return [_plane(file, header, frame) for frame in range(_frames(file, header))]


def stored_values(file: Path) -> np.ndarray:
    """(frames, rows, columns) as stored, decompressed. Raises FileFault."""
    with _lenient(file) as library:
        data = library.dcmread(file)
        _require_decoder(library, file, data.file_meta.get("TransferSyntaxUID", ""))
        try:
            array = library.pixels.pixel_array(data, raw=True)
        except RuntimeError as fault:  # of every decoder that is installed
            raise FileFault(
                f"{file.name} is damaged, or compressed in a way that no installed decoder reads "
                f"({data.file_meta.TransferSyntaxUID.name}); decompress it with dcmdjpeg or gdcmconv --raw, "
                f"or export it again"
            ) from fault
    return np.asarray(array).reshape(-1, *array.shape[-2:])


def holder(header: Any, frame: int, sequence: str) -> Any:
    """The holder of a frame's element: its own functional group, the shared one, or the data set itself."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        items = header.get(groups) or []
        item = items[frame if groups.startswith("Per") else 0] if len(items) else {}
        if item.get(sequence):
            return item[sequence][0]
    return header


def _frames(file: Path, header: Any) -> int:
    """Number of frames. Raises FileFault: they are not grey, or have no positions."""
    samples, kind = header.get("SamplesPerPixel", 1), str(header.get("PhotometricInterpretation", ""))
    if samples != 1 or kind != "MONOCHROME2":
        raise FileFault(
            f"{file.name} holds colours or inverted greys ({kind or 'no PhotometricInterpretation'}); "
            f"export grey values (MONOCHROME2)"
        )
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1 and "PerFrameFunctionalGroupsSequence" not in header:
        raise FileFault(f"{file.name} has {frames} frames without positions; export it as slices or as NIfTI")
    return frames


def _plane(file: Path, header: Any, frame: int) -> Plane:
    orientation = _numbers(file, header, frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    slope, intercept = _scale(file, header, frame)
    return Plane(
        file,
        frame,
        (int(header.Rows), int(header.Columns)),
        _numbers(file, header, frame, "PlanePositionSequence", "ImagePositionPatient", 3),
        orientation.reshape(2, 3),
        positive(
            f"PixelSpacing ({file.name})",
            _numbers(file, header, frame, "PixelMeasuresSequence", "PixelSpacing", 2),
            2,
        ),
        slope,
        intercept,
    )


def _scale(file: Path, header: Any, frame: int) -> tuple[float, float]:
    """Slope and intercept. Raises FileFault."""
    scaling = holder(header, frame, "PixelValueTransformationSequence")
    if "ModalityLUTSequence" in scaling:
        raise FileFault(f"{file.name} scales its values by a table (ModalityLUTSequence); export it as NIfTI")
    values = (scaling.get("RescaleSlope", 1), scaling.get("RescaleIntercept", 0))
    slope, intercept = finite(f"RescaleSlope and RescaleIntercept ({file.name})", values, 2).tolist()
    return slope, intercept


def _numbers(file: Path, header: Any, frame: int, sequence: str, keyword: str, count: int) -> np.ndarray:
    values = holder(header, frame, sequence).get(keyword)
    if values is None:
        raise FileFault(f"{file.name} has no {keyword}; export the original series, with its geometry")
    return finite(f"{keyword} ({file.name})", values, count)


def _require_decoder(library: ModuleType, file: Path, syntax: Any) -> None:
    """Raises FileFault: nothing that is installed can decompress a transfer syntax."""
    try:
        decoder = library.pixels.get_decoder(syntax)
    except NotImplementedError as fault:
        raise FileFault(
            f"{file.name} is stored as {getattr(syntax, 'name', syntax) or 'no TransferSyntaxUID'}, which is "
            f"not read; decompress it, with gdcmconv --raw or dcmdjpeg"
        ) from fault
    if not decoder.is_available:
        pip = "pip install pylibjpeg pylibjpeg-openjpeg" if syntax.startswith(_HIGH_THROUGHPUT) else PIP
        raise FileFault(f"{file.name} is compressed as {syntax.name}; to decompress it, type {pip}")


@contextmanager
def _lenient(file: Path) -> Iterator[ModuleType]:
    """Silence pydicom's remarks on files of other programs. Raises FileFault: unreadable."""
    library = pydicom()
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), library.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield library
    except FileFault:
        raise
    except OSError as fault:
        if fault.errno is not None:
            raise
        raise damaged(f"{file.name}: {fault}") from fault
    except Exception as fault:  # parsers and decoders may raise anything on damaged bytes
        raise damaged(f"{file.name}: {' '.join(str(fault).split())[:200]}") from fault
    finally:
        log.setLevel(level)
