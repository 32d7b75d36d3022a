"""A prepared dataset of a test's own."""

from pathlib import Path

import pytest
from prepared import LABELLED, NAME, SPLITS, TESTS, UNLABELLED, Place

from kneeformer.data.files import write_json
from kneeformer.paths import Folders


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results"))
    found.write(NAME, {"imagesTr": LABELLED, "imagesUn": UNLABELLED, "imagesTs": TESTS})
    write_json(found.folders.preprocessed / NAME / "splits_final.json", SPLITS)
    found.prepare([*LABELLED, *UNLABELLED])
    return found
