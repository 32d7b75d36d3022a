"""Tiny knees, planned, prepared and trained once for all tests of this folder; who changes them copies."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from workplace import SHAPE, SPACING_MM, TINY, Workplace

from kneeformer.data.images import write_image
from kneeformer.geometry.grid import Grid
from kneeformer.phantoms.knee import LABELS, make_knee, oblique_sagittal, write_phantom_dataset

CASES, TESTS = 6, 3
SUBJECTS = {f"phantom_{i:02d}": f"subject {(i + 1) // 2}" for i in range(1, CASES + 1)}  # two knees each


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(place: Workplace, make: Callable[[Workplace], object]) -> Workplace:
    """The place, which the first worker that asks for it makes."""
    with FileLock(f"{place.root}.lock"):
        made = Path(f"{place.root}.made")
        if not made.exists():
            shutil.rmtree(place.root, ignore_errors=True)
            make(place)
            made.touch()
    return place


@pytest.fixture(scope="session")
def raw(shared: Path) -> Workplace:
    """Six labelled knees of three subjects, one without labels, three test knees."""

    def make(place: Workplace) -> None:
        write_phantom_dataset(
            place.raw, CASES, seed=1, unlabelled=1, test=TESTS, shape=SHAPE, spacing_mm=SPACING_MM
        )
        file = place.raw / "dataset.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"subjects": SUBJECTS}))

    return made_once(Workplace(shared / "raw"), make)


@pytest.fixture(scope="session")
def planned(raw: Workplace, shared: Path) -> Workplace:
    def make(place: Workplace) -> None:
        raw.copy(place.root).run("kf_plan_and_preprocess", "-d", 1, "-c", "3d_vit", "-np", 1)

    return made_once(Workplace(shared / "planned"), make)


@pytest.fixture(scope="session")
def trained(planned: Workplace, shared: Path) -> Workplace:
    """Folds 0 and 1."""

    def make(place: Workplace) -> None:
        planned.copy(place.root)
        for fold in (0, 1):
            place.run("kf_train", 1, "3d_vit", fold, *TINY)

    return made_once(Workplace(shared / "trained"), make)


@pytest.fixture(scope="session")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """As nnU-Net has it: .nii.gz, two channels, overlapping regions, voxels to ignore. Fold 0 is trained."""
    place = Workplace(tmp_path_factory.mktemp("nnunet"))
    for case in range(5):
        write_regions_case(place.raw, "Tr", f"knee{case}", case)
    for case in range(3):
        write_regions_case(place.raw, "Ts", f"test{case}", 10 + case)
    description = {
        "channel_names": {"0": "PD", "1": "T2"},
        "labels": {"background": 0, "femur": [1, 2], "cartilage": [2], "tibia": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (place.raw / "dataset.json").write_text(json.dumps(description))
    place.run("kf_plan_and_preprocess", "-d", 1, "-c", "3d_vit", "--verify_dataset_integrity")
    place.run("kf_train", 1, "3d_vit", "fold0", *TINY)
    return place


def write_regions_case(folder: Path, part: str, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, knee = make_knee(rng, SHAPE, SPACING_MM)
    grid = oblique_sagittal(rng, SHAPE, SPACING_MM)
    labels = np.select(
        [knee == LABELS["femur"], knee == LABELS["femoral_cartilage"], knee == LABELS["tibia"]], [1, 2, 3], 0
    ).astype(np.uint8)
    labels[0] = 4
    for channel, voxels in enumerate((image, image.max() - image)):
        write_image(folder / f"images{part}" / f"{name}_{channel:04d}.nii.gz", voxels, grid)
    write_image(folder / f"labels{part}" / f"{name}.nii.gz", labels, grid)


@pytest.fixture
def fresh(planned: Workplace, tmp_path: Path) -> Workplace:
    """A planned and prepared place of the test's own, nothing trained."""
    return planned.copy(tmp_path / "place")


@pytest.fixture
def many_inputs(raw: Workplace, tmp_path: Path) -> Path:
    """A folder of twelve test images."""
    folder = tmp_path / "many"
    folder.mkdir()
    images = sorted((raw.raw / "imagesTs").iterdir())
    for i in range(12):
        shutil.copy(images[i % len(images)], folder / f"knee{i:02d}_0000.nrrd")
    return folder


@pytest.fixture(scope="session")
def grid() -> Grid:
    return Grid(SHAPE, SPACING_MM)
