"""The table of DICOM series: which case came from which."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from kneeformer.data.dicom_folder import DicomSeries
from kneeformer.data.files import write_text

SERIES_TABLE = "dicom_series.csv"


def write_series_table(folder: Path, series: Mapping[str, DicomSeries]) -> None:
    """Write dicom_series.csv: a row a case, with the UIDs that find its series in an archive.

    It holds no name, birth date, description or path: only the patient's ID, as a part of the case's name.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("case", "modality", "series_number", "files", "study_instance_uid", "series_instance_uid"))
    for case, one in series.items():
        rows.writerow((case, one.modality, one.number, len(one.files), one.study_uid, one.uid))
    write_text(folder / SERIES_TABLE, text.getvalue())
