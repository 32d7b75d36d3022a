"""DICOM SEG: label maps that refer to the series they were made from, written and read."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kneeformer.data.files import written_whole
from kneeformer.data.formats.base import FileFault
from kneeformer.data.formats.dicom import series_files, series_planes
from kneeformer.data.formats.dicom_planes import PIP, Plane, holder, planes_of, read_header, stored_values
from kneeformer.data.formats.grid import grid_of_steps
from kneeformer.data.segmentation_file import Segment, Segmentation
from kneeformer.data.terminology import codes_of, colour_of
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme

_SERIES_NUMBER = 1000  # number of the SEG: this plus that of the scan
_LONGEST = 64  # characters of a name in DICOM
_NEEDED = ("FrameOfReferenceUID", "StudyInstanceUID", "SOPClassUID", "SOPInstanceUID")
# The standard requires these, empty if unknown; anonymised files lack them.
_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def require_highdicom() -> ModuleType:
    """The library. Raises KneeformerError: it is not installed."""
    try:
        import highdicom
    except ImportError as fault:
        raise KneeformerError(f"DICOM SEG needs highdicom: {PIP}") from fault
    module: ModuleType = highdicom
    return module


def reference_problems(scan: Path) -> list[str]:
    """A line for each reason why no DICOM SEG can refer to the series of a file."""
    try:
        headers = [read_header(file, [*_NEEDED, "NumberOfFrames"]) for file in series_files(scan)]
    except FileFault:
        return []  # its reader gives a better message
    lacking = [keyword for keyword in _NEEDED if any(keyword not in header for header in headers)]
    problems = [f"{scan}: no {keyword}, which DICOM SEG needs; omit --save_dicom_seg" for keyword in lacking]
    if len(headers) > 1 and any("NumberOfFrames" in header for header in headers):
        problems.append(f"{scan}: a series of several multi-frame files; omit --save_dicom_seg")
    return problems


def write_dicom_segmentation(
    path: Path, labels: np.ndarray, scan: Path, scheme: LabelScheme, model: str, version: str
) -> None:
    """Write a label map as binary DICOM SEG with one segment per structure, on the frames of its scan.

    As the standard requires, it carries the patient and study of the scan, and the UIDs of its frames.
    Overlapping regions become segments with the voxels of the value that is written for each.

    Args:
        labels: (z, y, x), on the grid of the scan.
        scan: a file of the DICOM series.
        model, version: of the model that made it, for the header.

    Raises:
        KneeformerError: the series cannot be read, or highdicom is missing; DiskError: as `written_whole`.
    """
    hd = require_highdicom()
    try:
        planes = series_planes(scan)
        headers = {plane.file: read_header(plane.file) for plane in planes}
    except FileFault as fault:
        raise KneeformerError(f"{scan}: {fault}") from fault
    for header in headers.values():
        _complete(header, planes)
    first, model = headers[planes[0].file], model[:_LONGEST]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = hd.seg.Segmentation(
            source_images=list(headers.values()),
            pixel_array=_by_frame(_numbered(labels, scheme), planes, first),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _description(hd, n, name, model, version) for n, name in enumerate(scheme.names, 1)
            ],
            series_instance_uid=hd.UID(),
            series_number=_SERIES_NUMBER + int(first.get("SeriesNumber") or 0),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="kneeformer",
            manufacturer_model_name=model,
            software_versions=version,
            device_serial_number="0",
            content_label="SEGMENTATION",
            series_description=model,
        )
    with written_whole(path) as beside:
        made.save_as(beside)


def read_dicom_segmentation(path: Path) -> Segmentation:
    """Read a DICOM SEG: one layer per segment, from the first slice with a segment to the last.

    Raises:
        KneeformerError: it cannot be read, holds no frames, or its frames make no even grid.
    """
    try:
        header = read_header(path)
        segments = segments_of(header)
        planes, stored = planes_of(path, header), stored_values(path)
        numbers = _segments_of_frames(header, len(planes))
        return _segmentation(segments, planes, stored, numbers, header)
    except FileFault as fault:
        raise KneeformerError(f"{path}: {fault}") from fault


def read_dicom_segments(path: Path) -> list[Segment]:
    """Segments in the header of a DICOM SEG. Raises KneeformerError: it cannot be read."""
    try:
        return segments_of(read_header(path, ["SegmentSequence"]))
    except FileFault as fault:
        raise KneeformerError(f"{path}: {fault}") from fault


def segments_of(header: Any) -> list[Segment]:
    """Segments of a header, each in its own layer, except number 0, the background of a LABELMAP."""
    colours = require_highdicom().color.CIELabColor
    found = []
    items = [item for item in header.get("SegmentSequence") or () if item.get("SegmentNumber")]
    for layer, item in enumerate(items):
        lab = item.get("RecommendedDisplayCIELabValue")
        red, green, blue = colours.from_dicom_value(lab).to_rgb() if lab else (0, 0, 0)
        colour = (red / 255, green / 255, blue / 255) if lab else None
        number = int(item.SegmentNumber)
        found.append(Segment(str(item.get("SegmentLabel") or f"segment {number}"), number, layer, colour))
    return found


def _complete(header: Any, planes: Sequence[Plane]) -> None:
    """Add to a header what highdicom needs: the elements it may lack, and the grid of all planes."""
    for keyword in _EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    first, last = planes[0], planes[-1]
    measures, orientation = header, header
    if "PerFrameFunctionalGroupsSequence" in header:
        dataset = type(header.PerFrameFunctionalGroupsSequence[0])
        if not header.get("SharedFunctionalGroupsSequence"):
            header.SharedFunctionalGroupsSequence = [dataset()]
        shared, measures, orientation = header.SharedFunctionalGroupsSequence[0], dataset(), dataset()
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    orientation.ImageOrientationPatient = [round(v, 10) for v in first.axes.ravel().tolist()]
    measures.PixelSpacing = first.spacing.tolist()
    measures.SliceThickness = round((last.depth - first.depth) / (len(planes) - 1), 9)
    measures.SpacingBetweenSlices = measures.SliceThickness


def _numbered(labels: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """The label map with numbers of segments, 1, 2, ... in the order of the names, for values."""
    numbers = np.zeros(labels.shape, np.min_scalar_type(len(scheme.names)))
    for number, value in enumerate(scheme.painted, 1):
        numbers[labels == value] = number
    return numbers


def _by_frame(numbers: np.ndarray, planes: Sequence[Plane], header: Any) -> np.ndarray:
    """Planes in the order of the source's frames, which a multi-frame file defines."""
    if "NumberOfFrames" not in header:
        return numbers
    frames = np.zeros((int(header.NumberOfFrames), *numbers.shape[1:]), numbers.dtype)
    for plane, values in zip(planes, numbers, strict=True):
        frames[plane.frame] = values
    return frames


def _description(hd: ModuleType, number: int, name: str, model: str, version: str) -> Any:
    """A segment's header: name, codes, colour and algorithm."""
    category, kind = (hd.sr.CodedConcept(c.value, c.scheme, c.meaning) for c in codes_of(name))
    network = hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence")
    red, green, blue = (round(255 * share) for share in colour_of(name, number - 1))
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:_LONGEST],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(model, network, version),
        display_color=hd.color.CIELabColor.from_rgb(red, green, blue),
    )


def _segments_of_frames(header: Any, frames: int) -> list[int] | None:
    """Number of the segment that each frame is of; None where voxels hold the numbers (LABELMAP)."""
    if header.get("SegmentationType") == "LABELMAP":
        return None
    found = [holder(header, n, "SegmentIdentificationSequence") for n in range(frames)]
    if any("ReferencedSegmentNumber" not in item for item in found):
        raise FileFault("its frames do not name their segments; export it again")
    return [int(item.ReferencedSegmentNumber) for item in found]


def _segmentation(
    segments: Sequence[Segment],
    planes: Sequence[Plane],
    stored: np.ndarray,
    numbers: Sequence[int] | None,
    header: Any,
) -> Segmentation:
    """Frames placed on the grid that they span; slices without a frame are empty. Raises FileFault."""
    depths = np.array([plane.depth for plane in planes])
    first = planes[int(depths.argmin())]
    step = _step(depths, header)
    slices = np.rint((depths - depths.min()) / step).astype(int)
    if np.abs(depths - depths.min() - slices * step).max() > 0.05 * step:
        raise FileFault(f"its frames are not {step:g} mm apart or a multiple of it; export it again")
    (along_row, along_column), (rows, columns) = first.axes, first.spacing
    steps = np.stack([along_row * columns, along_column * rows, np.cross(*first.axes) * step], axis=1)
    shape = (int(slices.max()) + 1, *first.size)
    grid = grid_of_steps(shape[::-1], steps, first.position, "ImageOrientationPatient")
    layers = np.zeros((len(segments), *shape), np.uint16 if len(segments) > 255 else np.uint8)
    half = int(header.get("MaximumFractionalValue") or 1) / 2
    for layer, segment in enumerate(segments):
        for n, (z, values) in enumerate(zip(slices, stored, strict=True)):
            if numbers is None:
                layers[layer, z][values == segment.value] = segment.value
            elif numbers[n] == segment.value:
                layers[layer, z][values >= half] = segment.value
    return Segmentation(tuple(segments), layers, grid)


def _step(depths: np.ndarray, header: Any) -> float:
    """mm between slices: from the header, since empty slices may be missing; else the smallest distance."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0].get("PixelMeasuresSequence") or [{}]
    stated = shared[0].get("SpacingBetweenSlices") or shared[0].get("SliceThickness")
    steps = np.diff(np.unique(np.round(depths, 3)))
    return float(stated or (steps.min() if len(steps) else 1.0))
