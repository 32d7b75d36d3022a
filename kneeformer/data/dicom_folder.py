"""Series in a tree of DICOM files, by their headers: those that may be volumes; why others are not."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeformer.data.formats.base import FileFault
from kneeformer.data.formats.dicom import series_files
from kneeformer.data.formats.dicom_planes import is_dicom, pydicom, read_header
from kneeformer.data.image_folder import composed, printable
from kneeformer.errors import KneeformerError
from kneeformer.sides import Side

_ELEMENTS = [
    *("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "StudyDate", "StudyTime"),
    *("PatientID", "Modality", "ImageType", "Rows", "SamplesPerPixel", "NumberOfFrames"),
    *("ImagePositionPatient", "Laterality", "ImageLaterality", "SeriesDescription", "FrameOfReferenceUID"),
    *("ReferencedSeriesSequence", "SharedFunctionalGroupsSequence"),
]
_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR file
_SIDES: dict[str, Side] = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class DicomSeries:
    """A series.

    Attributes:
        files: in one folder, by name; `read_image` of any of them reads the series.
        patient: PatientID, or a name made of the study's UID where there is none.
        number: SeriesNumber, or 0.
        begun: StudyDate and StudyTime, to sort by.
        description: SeriesDescription, or "".
        frame_of_reference: its UID, or "".
        side: of the body, if the header names it.
    """

    files: tuple[Path, ...]
    uid: str
    study_uid: str
    patient: str
    number: int
    modality: str
    begun: str
    description: str
    frame_of_reference: str
    side: Side | None


@dataclass(frozen=True)
class DicomFolder:
    """Series of a folder and of those in it.

    Attributes:
        series: by patient, beginning of the study, and number.
        segmentations: DICOM SEG files by the UID of the series that each refers to.
        ignored: of each other series, by one of its files, why it is no volume.
        scattered: a line for each series whose files lie in several folders.
    """

    series: list[DicomSeries]
    segmentations: dict[str, list[Path]]
    ignored: dict[Path, str]
    scattered: list[str]


def dicom_folder(place: Path) -> DicomFolder:
    """List the series of a tree, or that of a file. Hidden files and folders are ignored.

    Raises:
        KneeformerError: there are DICOM files, and pydicom is not installed.
    """
    by_uid, ignored = defaultdict[str, list[tuple[Path, Any]]](list), dict[Path, str]()
    for file in _files(place):
        try:
            header = read_header(file, _ELEMENTS)
        except FileFault as fault:
            ignored[file] = str(fault)
            continue
        if header.get("SOPClassUID", header.file_meta.get("MediaStorageSOPClassUID")) != _DIRECTORY:
            by_uid[str(header.get("SeriesInstanceUID", file))].append((file, header))
    series, scattered = list[DicomSeries](), list[str]()
    segmentations = defaultdict[str, list[Path]](list)
    for uid, members in by_uid.items():
        (file, header), folders = members[0], sorted({str(f.parent) for f, _ in members})
        if header.get("Modality") == "SEG":
            for seg, about in members:
                for referred in about.get("ReferencedSeriesSequence") or ():
                    segmentations[str(referred.SeriesInstanceUID)].append(seg)
        elif (reason := _reason([h for _, h in members])) is not None:
            ignored[file] = reason
        elif len(folders) > 1:
            scattered.append(
                f"{printable(file)}: its series lies in {len(folders)} folders ({', '.join(folders)}); put "
                f"its files into one, or remove a copy"
            )
        else:
            series.append(_series(uid, members))
    series.sort(key=lambda s: (s.patient, s.begun, s.number, s.study_uid, s.uid))
    return DicomFolder(series, dict(segmentations), ignored, scattered)


def case_names(series: Sequence[DicomSeries]) -> dict[str, DicomSeries]:
    """Each series by the name of a case: PATIENT_sNUMBER, safe in file names, unique in any case of letters.

    Other patients with the same name, and other series with the same number, get -2, -3, ...
    """
    patients: dict[str, str] = {}
    for one in series:
        if one.patient not in patients:
            patients[one.patient] = _free(_safe(one.patient), patients.values())
    named: dict[str, DicomSeries] = {}
    for one in series:
        named[_free(f"{patients[one.patient]}_s{one.number}", named)] = one
    return named


def subjects(named: Iterable[str]) -> dict[str, str]:
    """The patient of each case, as written in its name."""
    return {case: case.rpartition("_s")[0] for case in named}


def _free(name: str, taken: Any) -> str:
    used, number, free = {t.casefold() for t in taken}, 2, name
    while free.casefold() in used:
        free, number = f"{name}-{number}", number + 1
    return free


def _safe(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", composed(name)).strip("_") or "patient"


def _files(place: Path) -> list[Path]:
    """DICOM files of a tree, by name; of a file, those of its series. Raises KneeformerError."""
    try:
        if place.is_file():
            return series_files(place)
        inside = (
            p for p in place.rglob("*") if not any(n.startswith(".") for n in p.relative_to(place).parts)
        )
        found = sorted(p for p in inside if p.is_file() and is_dicom(p))
        if found:
            pydicom()  # must be installed
    except FileFault as fault:
        raise KneeformerError(f"{place}: {fault}") from fault
    return found


def _reason(headers: Sequence[Any]) -> str | None:
    """Return the reason why a series cannot be a volume; None if it may be one."""
    first = headers[0]
    if not all(h.get("Rows") for h in headers):
        return f"no images (modality {first.get('Modality', 'unknown')}); not used"
    if all("LOCALIZER" in (h.get("ImageType") or ()) for h in headers):
        return "a localiser; not used"
    if any(h.get("SamplesPerPixel", 1) != 1 for h in headers):
        return "colour images; not used: export grey values"
    if not any("ImagePositionPatient" in h or "SharedFunctionalGroupsSequence" in h for h in headers):
        return "images without a position in the patient, such as a photograph of a screen; not used"
    if sum(_whole(h, "NumberOfFrames", 1) for h in headers) == 1:
        return "a single slice; not used"
    return None


def _series(uid: str, members: Sequence[tuple[Path, Any]]) -> DicomSeries:
    header = members[0][1]
    study = str(header.get("StudyInstanceUID", uid))
    said = header.get("ImageLaterality") or header.get("Laterality") or ""
    return DicomSeries(
        files=tuple(file for file, _ in members),
        uid=uid,
        study_uid=study,
        patient=str(header.get("PatientID") or "").strip() or f"study{_short(study)}",
        number=_whole(header, "SeriesNumber", 0),
        modality=str(header.get("Modality") or ""),
        begun=f"{header.get('StudyDate') or ''}{header.get('StudyTime') or ''}",
        description=str(header.get("SeriesDescription") or "").strip(),
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        side=_SIDES.get(said),
    )


def _whole(header: Any, keyword: str, otherwise: int) -> int:
    """A whole number of a header, where there is one."""
    text = str(header.get(keyword) or "")
    return int(text) if text.isdecimal() else otherwise


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]
