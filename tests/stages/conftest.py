"""A prepared dataset of a test's own."""

from pathlib import Path

import pytest
from prepared import LABELLED, NAME, SPLITS, TESTS, UNLABELLED, Place, plan

from kneeformer.data.files import write_json, write_text
from kneeformer.paths import Folders


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results"))
    found.write(NAME, {"imagesTr": LABELLED, "imagesUn": UNLABELLED, "imagesTs": TESTS})
    write_json(found.folders.preprocessed / NAME / "splits_final.json", SPLITS)
    write_text(found.folders.plan_file(NAME), plan().to_text())
    found.prepare([*LABELLED, *UNLABELLED])
    return found
