"""Import of a tree of DICOM series as a dataset; labels from the DICOM SEG that refer to them."""

from collections.abc import Sequence
from pathlib import Path

from kneeformer.data.dicom_folder import DicomFolder, case_names, dicom_folder, subjects
from kneeformer.data.image_folder import lines_of
from kneeformer.errors import KneeformerError
from kneeformer.progress import Progress
from kneeformer.workflows.import_cases import Imported, ImportedCase, import_cases
from kneeformer.workflows.new_dataset import written_dataset
from kneeformer.workflows.series_table import write_series_table

_CHANNELS = {"MR": "MRI"}  # by modality; CT is CT


def import_dicom(
    source: Path, folder: Path, channel: str | None, wanted: Sequence[str] | None, watch: Progress
) -> Imported:
    """Write a dataset folder, in NRRD, of the series in a tree of DICOM files, as `import_cases` does.

    Of the headers it keeps PatientID, as part of the cases' names and as `subjects`, laterality as `sides`,
    and the UIDs in dicom_series.csv.

    Args:
        folder: to write, $kf_raw/DatasetNNN_Name; it must not exist.
        channel: name of the channel; None takes it from the modality, which must be the same in all series.
        wanted: as of `import_cases`.

    Raises:
        KneeformerError: no series, or of several modalities; or as `import_cases`.
        DiskError: the disk took no more; nothing is left of the dataset.
    """
    found = dicom_folder(source)
    notes = [*lines_of(found.ignored), *found.scattered]
    if not found.series:
        raise KneeformerError("\n  ".join([f"{source}: no DICOM series of several slices here", *notes]))
    series = case_names(found.series)
    of = subjects(series)
    cases = [
        ImportedCase(name, one.files[0], _segmentation(one.uid, found, notes), one.side, of[name])
        for name, one in series.items()
    ]
    strange = found.segmentations.keys() - {one.uid for one in found.series}
    notes += [f"{found.segmentations[uid][0]}: its series is not here; not used" for uid in sorted(strange)]
    with written_dataset(folder) as beside:
        channel = channel or _channel(source, found)
        imported = import_cases(source, cases, beside, channel, wanted, notes, watch)
        write_series_table(beside, {name: one for name, one in series.items() if name in imported.cases})
        return imported


def _segmentation(uid: str, found: DicomFolder, notes: list[str]) -> Path | None:
    """The DICOM SEG of a series, the first by name."""
    first, *others = found.segmentations.get(uid, [None])
    notes += [f"{other}: its series has the segmentation {first} already; keep one" for other in others]
    return first


def _channel(source: Path, found: DicomFolder) -> str:
    modalities = sorted({one.modality for one in found.series})
    if len(modalities) > 1:
        raise KneeformerError(
            f"{source}: series of {' and '.join(modalities)}; a dataset has one kind of image a channel: "
            f"give folders of one modality"
        )
    return _CHANNELS.get(modalities[0], modalities[0] or "MRI")
