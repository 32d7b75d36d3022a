"""A scan stored in another order or direction of its axes gives the same segmentation in the patient."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
from workplace import Workplace

from kneeformer import Predictor
from kneeformer.data.dataset import Case
from kneeformer.data.images import read_image, write_image
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import ENDS, turn
from kneeformer.tasks.cases import Scan
from kneeformer.workflows.scan_files import read_scan

ORIENTATIONS = ["".join(ends) for lines in permutations(ENDS) for ends in product(*lines)]


def test_all_48_ways_to_store_a_scan_are_segmented_alike(trained: Workplace) -> None:
    predictor = Predictor.from_model_folder(trained.model, (0,), mirroring=False)
    image = read_image(trained.raw / "imagesTs" / "phantom_07_0000.nrrd")
    stored = image.grid.orientation()
    wanted = predictor.predict_scan(Scan(image.array[None], image.grid)).volumes[""]
    assert wanted.any()
    for other in ORIENTATIONS:
        scan = Scan(turn(image.array[None], stored, other), image.grid.turned(other))
        assert np.array_equal(turn(predictor.predict_scan(scan).volumes[""], other, stored), wanted), other


def test_files_of_other_orientations_are_segmented_alike(trained: Workplace, tmp_path: Path) -> None:
    """The same scan as NRRD turned, and as NIfTI, whose header holds the direction as float32."""
    predictor = Predictor.from_model_folder(trained.model, (0,), mirroring=False)
    file = trained.raw / "imagesTs" / "phantom_07_0000.nrrd"
    image = read_image(file)
    stored = image.grid.orientation()
    predictor.predict_case(Case("plain", (file,)), tmp_path)
    wanted = read_image(tmp_path / "plain.nrrd").array
    for name, other, ending in (("turned", "RAS", ".nrrd"), ("nifti", "SPL", ".nii.gz")):
        source = tmp_path / f"{name}_0000{ending}"
        write_image(source, np.ascontiguousarray(turn(image.array, stored, other)), image.grid.turned(other))
        predictor.predict_case(Case(name, (source,)), tmp_path)
        found = read_image(tmp_path / f"{name}.nrrd")
        assert found.grid.mismatch(read_image(source).grid) is None
        assert np.mean(turn(found.array, other, stored) == wanted) > 0.999


def test_masks_and_channels_stored_otherwise_than_the_first_channel(tmp_path: Path) -> None:
    grid = Grid((4, 5, 6), (3.0, 1.0, 0.5), (1.0, 2.0, 3.0))
    first, second = np.random.default_rng(0).normal(size=(2, *grid.shape)).astype(np.float32)
    mask = (first > 0).astype(np.uint8)
    stored = {"a_0000": (first, "SPL"), "a_0001": (second, "RIA"), "a": (mask, "LSP")}
    for name, (array, other) in stored.items():
        write_image(tmp_path / f"{name}.nrrd", turn(array, grid.orientation(), other), grid.turned(other))
    images = (tmp_path / "a_0000.nrrd", tmp_path / "a_0001.nrrd")
    scan = read_scan(Case("a", images, mask=tmp_path / "a.nrrd"))
    assert np.array_equal(scan.image, [first, second]) and np.array_equal(scan.mask, mask)


def test_slices_of_another_plane_are_warned_of(trained: Workplace) -> None:
    predictor = Predictor.from_model_folder(trained.model, (0,), mirroring=False)
    image = read_image(trained.raw / "imagesTs" / "phantom_07_0000.nrrd")
    assert predictor.predict_scan(Scan(image.array[None], image.grid)).warnings == ()
    direction = tuple(np.reshape(image.grid.direction, (3, 3))[[1, 2, 0]].ravel().tolist())
    lying = type(image.grid)(image.grid.shape, image.grid.spacing, direction=direction)
    (warning,) = predictor.predict_scan(Scan(image.array[None], lying)).warnings
    assert "its slices are axial" in warning and "of the training set sagittal" in warning
