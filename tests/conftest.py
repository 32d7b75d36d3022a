"""How the suite runs: over all cores, each worker on one thread; see decision 0019."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared import LABELLED, NAME, SPLITS, TESTS, UNLABELLED, Place, plan

from kneeformer.data.files import write_json, write_text
from kneeformer.paths import Folders

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is loaded; child processes inherit it
SLOW_ROOMS = ("process", "studies")  # whole commands, whole trainings


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One a core for the whole suite; none for a part that is named: it begins at once, debugger or not."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named else min(os.cpu_count() or 1, 8)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of SLOW_ROOMS are slow; what is slow comes first, so that no worker is left alone with it."""
    for item in items:
        if item.path.parent.name in SLOW_ROOMS:
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """No test pulls the plug, so none waits until its files have reached the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a place, made once; tests that want them get a copy."""
    root = tmp_path_factory.mktemp("prepared")
    found = place_in(root)
    found.write(NAME, {"imagesTr": LABELLED, "imagesUn": UNLABELLED, "imagesTs": TESTS})
    write_json(found.folders.preprocessed / NAME / "splits_final.json", SPLITS)
    write_text(found.folders.plan_file(NAME), plan().to_text())
    found.prepare([*LABELLED, *UNLABELLED])
    return root


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Place:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return place_in(tmp_path)


def place_in(root: Path) -> Place:
    return Place(Folders(root / "raw", root / "preprocessed", root / "results"))
