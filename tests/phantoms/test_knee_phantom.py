"""The phantom: reproducible, anatomically right, and a dataset like any other."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import read_image
from kneeformer.geometry.grid import Grid
from kneeformer.phantoms.knee import (
    LABELS,
    SHAPE,
    SPACING_MM,
    make_knee,
    oblique_sagittal,
    write_phantom_dataset,
)

# what an adult knee measures, within the field of view, in mm3
VOLUME_MM3 = {
    "femur": (80e3, 200e3),
    "tibia": (50e3, 150e3),
    "patella": (8e3, 30e3),
    "femoral_cartilage": (4e3, 20e3),
    "tibial_cartilage": (2e3, 12e3),
    "patellar_cartilage": (1e3, 6e3),
}
COARSE = {"shape": (12, 48, 48), "spacing_mm": (7.0, 2.5, 2.5)}  # the same field of view, for datasets


@pytest.fixture(scope="module", params=range(6))
def knee(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return make_knee(np.random.default_rng(request.param))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("raw") / "Dataset999_Phantom"
    write_phantom_dataset(folder, cases=3, seed=7, unlabelled=1, test=2, **COARSE)
    return Dataset.open(folder)


def centroid_lps(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """(3,) patient coordinates, in mm, of the middle of a mask (z, y, x)."""
    index_xyz = np.argwhere(mask).mean(axis=0)[::-1]
    return grid.origin + np.reshape(grid.direction, (3, 3)) @ (index_xyz * grid.spacing[::-1])


def test_equal_seeds_give_equal_knees_and_others_do_not() -> None:
    first, again, other = (make_knee(np.random.default_rng(seed), **COARSE) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


def test_types_and_values(knee: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = knee
    assert (image.shape, image.dtype, labels.shape, labels.dtype) == (SHAPE, np.int16, SHAPE, np.uint8)
    assert image.min() >= 0
    assert set(np.unique(labels)) == set(LABELS.values())


def test_another_grid() -> None:
    image, labels = make_knee(np.random.default_rng(0), (10, 64, 50), (7.0, 2.0, 2.5))
    assert image.shape == labels.shape == (10, 64, 50)
    assert set(np.unique(labels)) == set(LABELS.values())


def test_volumes_are_those_of_a_knee(knee: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = knee
    for name, (least, most) in VOLUME_MM3.items():
        assert least < (labels == LABELS[name]).sum() * np.prod(SPACING_MM) < most, name


def test_each_bone_is_one_piece(knee: tuple[np.ndarray, np.ndarray]) -> None:
    for name in ("femur", "tibia", "patella"):
        assert ndimage.label(knee[1] == LABELS[name])[1] == 1, name


def test_cartilage_lies_on_its_bone_and_is_two_to_three_voxels_thick(
    knee: tuple[np.ndarray, np.ndarray],
) -> None:
    _, labels = knee
    for bone, name in (
        ("femur", "femoral_cartilage"),
        ("tibia", "tibial_cartilage"),
        ("patella", "patellar_cartilage"),
    ):
        cartilage = labels == LABELS[name]
        away_mm = ndimage.distance_transform_edt(labels != LABELS[bone], sampling=SPACING_MM)[cartilage]
        assert np.percentile(away_mm, 95) < 5, name
        in_plane = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], bool)
        touching = cartilage & ndimage.binary_dilation(labels == LABELS[bone], in_plane)
        assert 1.3 < cartilage.sum() / touching.sum() < 3.5, name


def test_contrast_is_that_of_a_fat_saturated_scan(knee: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = knee
    bone = ndimage.binary_erosion(labels == LABELS["femur"], iterations=3)
    air = image[:, :, -2:].mean()
    assert 1.3 * air < image[bone].mean() < 0.6 * image[labels == LABELS["femoral_cartilage"]].mean()


def test_grid_is_oblique_sagittal_and_right_handed() -> None:
    grid = oblique_sagittal(np.random.default_rng(1))
    cosines = np.reshape(grid.direction, (3, 3))
    np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-12)
    assert np.linalg.det(cosines) == pytest.approx(1)
    assert grid.orientation()[0] in "LR"
    assert 0.9 < np.abs(cosines).max(axis=0).min() < 1


def test_dataset_opens_with_all_its_files(dataset: Dataset) -> None:
    training = dataset.training_cases()
    assert dataset.description.scheme.names == tuple(LABELS)[1:]
    assert [c.name for c in training] == ["phantom_01", "phantom_02", "phantom_03"]
    assert [c.name for c in dataset.unlabelled_cases()] == ["phantom_06"]
    assert all(file.is_file() for case in training for file in case.files)
    truth = sorted(p.name for p in (dataset.folder / "labelsTs").iterdir())
    assert truth == ["phantom_04.nrrd", "phantom_05.nrrd"]
    assert len({dataset.description.subject(c.name) for c in training}) == 3


def test_written_anatomy_stands_upright_in_the_patient(dataset: Dataset) -> None:
    for case in dataset.training_cases():
        image, label = read_image(case.images[0]), read_image(case.files[-1])
        assert image.grid.mismatch(label.grid) is None
        femur, tibia, patella = (
            centroid_lps(label.array == LABELS[name], label.grid) for name in ("femur", "tibia", "patella")
        )
        assert femur[2] > tibia[2] + 20  # superior, mm
        assert patella[1] < min(femur[1], tibia[1]) - 20  # anterior
        assert patella[2] > tibia[2]


def test_more_cases_leave_the_first_as_they_were(dataset: Dataset, tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path, cases=1, seed=7, test=0, **COARSE)
    name = Path("imagesTr") / "phantom_01_0000.nrrd"
    one, same = read_image(tmp_path / name), read_image(dataset.folder / name)
    assert np.array_equal(one.array, same.array)
    assert one.grid == same.grid
