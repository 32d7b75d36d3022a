"""Import of a tree of DICOM series as a dataset, with labels from DICOM SEG."""

from collections.abc import Sequence
from pathlib import Path

from kneeformer.data.dicom_channels import series_of_cases
from kneeformer.data.dicom_folder import DicomFolder, DicomSeries, dicom_folder, subjects
from kneeformer.data.image_folder import lines_of
from kneeformer.data.segment_names import plain_name
from kneeformer.errors import KneeformerError
from kneeformer.progress import Progress
from kneeformer.workflows.import_cases import Imported, ImportedCase, import_cases
from kneeformer.workflows.new_dataset import written_dataset
from kneeformer.workflows.series_table import write_series_table

_CHANNELS = {"MR": "MRI"}  # by modality, where the names differ


def import_dicom(
    source: Path, folder: Path, channels: Sequence[str], wanted: Sequence[str] | None, watch: Progress
) -> Imported:
    """Import the series of a tree of DICOM files as a dataset folder, by `import_cases`.

    From the headers it keeps PatientID (in the names of cases and as `subjects`), the laterality (as `sides`)
    and the UIDs (in dicom_series.csv).

    Args:
        folder: to write, $kf_raw/DatasetNNN_Name; it must not exist.
        channels: names of the channels. With several, a case is a study with a series for each of them
            (`series_of_cases`). With none, the one channel is named after the modality of all series.
        wanted: as in `import_cases`.

    Raises:
        KneeformerError: two channels of one name; no series, or of several modalities; or as `import_cases`.
        DiskError: the disk is full or fails; nothing is left of the dataset.
    """
    if len({plain_name(name) for name in channels}) < len(channels):
        raise KneeformerError(
            f"channels {', '.join(channels)}: two have one name, and would be the same series"
        )
    found = dicom_folder(source)
    notes = [*lines_of(found.ignored), *found.scattered]
    if not found.series:
        raise KneeformerError("\n  ".join([f"{source}: no DICOM series of several slices here", *notes]))
    series, unused = series_of_cases(found.series, channels)
    notes += lines_of(unused)
    of = subjects(series)
    cases = [
        ImportedCase(
            name, tuple(s.files[0] for s in own), _segmentation(own, found, notes), own[0].side, of[name]
        )
        for name, own in series.items()
    ]
    strange = found.segmentations.keys() - {one.uid for one in found.series}
    notes += [f"{found.segmentations[uid][0]}: its series is not here; not used" for uid in sorted(strange)]
    if len(channels) == 1 and len(modalities := _modalities(found)) > 1:
        notes.append(f"series of {' and '.join(modalities)} are all taken as {channels[0]}")
    with written_dataset(folder) as beside:
        named = channels or [_channel(source, found)]
        imported = import_cases(source, cases, beside, named, wanted, notes, watch)
        write_series_table(beside, {name: own for name, own in series.items() if name in imported.cases})
        return imported


def _segmentation(series: Sequence[DicomSeries], found: DicomFolder, notes: list[str]) -> Path | None:
    """The DICOM SEG of a case: the first by name of its first series that has any."""
    files = [file for one in series for file in found.segmentations.get(one.uid, [])]
    if not files:
        return None
    first, *others = files
    notes += [f"{other}: its series has the segmentation {first} already; keep one" for other in others]
    return first


def _modalities(found: DicomFolder) -> list[str]:
    return sorted({one.modality for one in found.series})


def _channel(source: Path, found: DicomFolder) -> str:
    modalities = _modalities(found)
    if len(modalities) > 1:
        raise KneeformerError(
            f"{source}: series of {' and '.join(modalities)}; a dataset has one kind of image per channel: "
            f"give folders of one modality"
        )
    return _CHANNELS.get(modalities[0], modalities[0] or "MRI")
