"""DICOM series that tests write, a file a slice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from kneeformer.geometry.grid import Grid

# Sagittal and turned by some degrees, slices from right to left.
TURNED = np.linalg.qr(np.array([[0.1, 0.05, 1.0], [1.0, 0.02, -0.1], [0.0, -1.0, 0.05]]))[0]
TURNED *= np.sign(np.linalg.det(TURNED))
OBLIQUE = Grid((5, 8, 10), (3.0, 0.4, 0.5), (-31.5, 12.25, 40.0), tuple(TURNED.ravel().tolist()))


def scan(seed: int = 0, grid: Grid = OBLIQUE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, grid.shape).astype(np.int16)


def slices(array: np.ndarray, grid: Grid = OBLIQUE, **elements: Any) -> list[Dataset]:
    """Data sets of the slices of a (z, y, x) array, with elements beside or instead of the usual ones."""
    uids = {name: generate_uid() for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}
    return [
        one_slice(
            values,
            (grid.to_patient() @ [z, 0, 0, 1])[:3],
            grid,
            **{"InstanceNumber": z + 1, **uids, **elements},
        )
        for z, values in enumerate(array)
    ]


def one_slice(values: np.ndarray, position: Sequence[float], grid: Grid, **elements: Any) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = MRImageStorage if elements.get("Modality", "MR") == "MR" else CTImageStorage
    data.SOPInstanceUID = generate_uid()
    data.Modality, data.PatientID, data.PatientName = "MR", "K01", "Doe^Jane"
    data.PatientBirthDate, data.PatientSex, data.StudyID = "19700101", "F", "1"
    data.StudyDate, data.StudyTime, data.AccessionNumber = "20240102", "101500", "77"
    data.ReferringPhysicianName, data.SeriesNumber = "Who^Doctor", 4
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = values.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    data.ImagePositionPatient = [float(f"{v:.6f}") for v in position]
    data.ImageOrientationPatient = [float(f"{v:.8f}") for v in grid.cosines[:, :2].T.ravel()]
    data.PixelSpacing = [float(grid.spacing[1]), float(grid.spacing[2])]
    for keyword, value in elements.items():
        if value is None:
            data.pop(keyword, None)
        else:
            setattr(data, keyword, value)
    data.PixelData = values.tobytes()
    return data


def multiframe(data: Sequence[Dataset], order: Sequence[int]) -> Dataset:
    """The slices as frames of one enhanced MR image, in an order."""
    frames, first = Dataset(), data[0]
    frames.update(first)
    frames.file_meta, frames.SOPClassUID = first.file_meta, EnhancedMRImageStorage
    frames.NumberOfFrames = len(order)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del frames[keyword]
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence[0].PixelSpacing = first.PixelSpacing
    frames.SharedFunctionalGroupsSequence, frames.PerFrameFunctionalGroupsSequence = [shared], []
    for z in order:
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = data[z].ImagePositionPatient
        frames.PerFrameFunctionalGroupsSequence.append(group)
    frames.PixelData = b"".join(data[z].PixelData for z in order)
    return frames


def save(folder: Path, data: Sequence[Dataset], names: Sequence[str] | None = None) -> Path:
    """Write data sets, shuffled by name unless names are given; returns the file of the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(len(data)).permutation(len(data))
    names = names or [f"IM{i:04d}" for i in order]
    for one, name in zip(data, names, strict=True):
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        pydicom.dcmwrite(folder / name, one, enforce_file_format=True)
    return folder / names[0]
