"""The table of cases and the DICOM series that they come from."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from kneeformer.data.dicom_folder import DicomSeries
from kneeformer.data.files import write_text

SERIES_TABLE = "dicom_series.csv"


def write_series_table(folder: Path, series: Mapping[str, Sequence[DicomSeries]]) -> None:
    """Write dicom_series.csv: one row per channel of a case, with the UIDs of its series in an archive.

    It holds no name, birth date, description or path; the names of cases contain the patient's ID.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    uids = ("study_instance_uid", "series_instance_uid")
    rows.writerow(("case", "channel", "modality", "series_number", "files", *uids))
    for case, of in series.items():
        for channel, one in enumerate(of):
            rows.writerow((case, channel, one.modality, one.number, len(one.files), one.study_uid, one.uid))
    write_text(folder / SERIES_TABLE, text.getvalue())
