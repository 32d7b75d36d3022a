"""From the native grid to the network's and, by the box, back."""

import numpy as np
import pytest

from kneeformer.config import Normalisation, PreprocessingSettings
from kneeformer.data.outliers import filled_box
from kneeformer.errors import KneeformerError
from kneeformer.geometry.boxes import paste, slices, whole_box
from kneeformer.geometry.grid import Grid
from kneeformer.transforms.prepare import prepare, resampled_shape

SHAPE = (6, 10, 12)
GRID = Grid(SHAPE, (3.0, 0.5, 0.5))
BOX = ((1, 4), (2, 8), (3, 11))


def settings(
    spacing: tuple[float, float, float] = GRID.spacing, kind: str = "none", crop: bool = True
) -> PreprocessingSettings:
    return PreprocessingSettings(
        folder="test",
        spacing=spacing,
        orientations=("SPL",),
        median_shape=SHAPE,
        thick_axis=0,
        crop_to_nonzero=crop,
        normalisation=(Normalisation.model_validate({"kind": kind}),),
    )


def volume() -> tuple[np.ndarray, np.ndarray]:
    """An image that is not zero within BOX, and labels in a part of it."""
    image = np.zeros((1, *SHAPE), np.float32)
    rng = np.random.default_rng(0)
    image[0][slices(BOX)] = rng.uniform(1, 2, (3, 6, 8))
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 3:6, 4:9] = 2
    return image, labels


def cut(image: np.ndarray) -> np.ndarray:
    (z, y, x) = BOX
    return image[:, z[0] : z[1], y[0] : y[1], x[0] : x[1]]


def test_the_box_holds_every_voxel_of_any_channel() -> None:
    image, _ = volume()
    assert filled_box(image) == BOX
    other = np.zeros_like(image)
    other[0, 5, 0, 4] = -1
    assert filled_box(np.concatenate([image, other])) == ((1, 6), (0, 8), (3, 11))


def test_the_box_holds_every_label() -> None:
    image, labels = volume()
    labels[0, 9, 11] = 1
    assert filled_box(image, labels) == ((0, 4), (2, 10), (3, 12))
    assert filled_box(np.zeros_like(image), labels) == ((0, 3), (3, 10), (4, 12))


def test_an_empty_image_keeps_its_whole_box() -> None:
    empty = np.zeros((1, *SHAPE))
    assert filled_box(empty) == whole_box(SHAPE) == ((0, 6), (0, 10), (0, 12))


def test_paste_undoes_a_cut() -> None:
    image, labels = volume()
    assert np.array_equal(paste(cut(image), BOX, SHAPE), image)
    assert np.array_equal(paste(labels[slices(BOX)], BOX, SHAPE), labels)
    assert paste(labels[slices(BOX)], BOX, SHAPE).dtype == np.uint8


def test_paste_fills_the_outside() -> None:
    part = np.ones((2, 3, 6, 8), np.float16)
    whole = paste(part, BOX, SHAPE, outside=7)
    assert whole.shape == (2, *SHAPE) and whole.dtype == np.float16
    assert (whole == 1).sum() == 2 * 3 * 6 * 8 and (whole == 7).sum() == whole.size - 2 * 3 * 6 * 8


def test_without_resampling_the_case_is_cut_and_nothing_else() -> None:
    image, labels = volume()
    prepared = prepare(image, labels, GRID, settings())
    assert prepared.box == BOX and prepared.labels is not None
    assert np.array_equal(prepared.image, cut(image))
    assert np.array_equal(prepared.labels, labels[slices(BOX)])
    assert np.array_equal(paste(prepared.labels, prepared.box, SHAPE), labels)


def test_without_cropping_the_box_is_everything() -> None:
    image, labels = volume()
    prepared = prepare(image, labels, GRID, settings(crop=False))
    assert prepared.box == whole_box(SHAPE) and np.array_equal(prepared.image, image)


def test_image_and_labels_share_the_grid_of_the_plan() -> None:
    image, labels = volume()
    prepared = prepare(image, labels, GRID, settings((3.0, 0.25, 1.0)))
    assert prepared.labels is not None and prepared.labels.dtype == np.uint8
    assert prepared.image.shape == (1, 3, 12, 4) and prepared.labels.shape == (3, 12, 4)
    assert prepared.image.dtype == np.float32
    assert resampled_shape(BOX, GRID, settings((3.0, 0.25, 1.0))) == (3, 12, 4)
    assert set(np.unique(prepared.labels)) == {0, 2}


def test_thick_slices_are_kept_and_the_spacing_is_the_images_own() -> None:
    image, labels = volume()
    prepared = prepare(image, labels, GRID, settings((2.5, 0.25, 1.0)))
    assert prepared.image.shape == (1, 3, 12, 4) and prepared.spacing == pytest.approx((3.0, 0.25, 1.0))
    thin = prepare(image, labels, GRID, settings((1.5, 0.25, 1.0)))
    assert thin.image.shape == (1, 6, 12, 4) and thin.spacing == pytest.approx((1.5, 0.25, 1.0))


def test_normalisation_is_that_of_the_cut_image() -> None:
    image, _ = volume()
    prepared = prepare(image, None, GRID, settings(kind="zscore"))
    assert prepared.labels is None
    assert abs(prepared.image.mean()) < 1e-5 and prepared.image.std() == pytest.approx(1, abs=1e-4)


def test_a_spacing_that_makes_a_scan_too_large_is_refused() -> None:
    """As of a header in micrometres: 3 m x 0.5 m x 0.5 m voxels."""
    grid = Grid(SHAPE, (3000.0, 500.0, 500.0))
    with pytest.raises(KneeformerError, match=r"spacing of 3000 x 500 x 500 mm .* correct the spacing"):
        prepare(*volume(), grid, settings((0.1, 0.1, 0.1)))


def test_the_inputs_are_left_alone() -> None:
    image, labels = volume()
    before = image.copy(), labels.copy()
    prepared = prepare(image, labels, GRID, settings(kind="unit", crop=False))
    prepared.image[:] = -1
    assert np.array_equal(image, before[0]) and np.array_equal(labels, before[1])


@pytest.mark.parametrize("kind", ["zscore", "unit", "none"])
@pytest.mark.parametrize("value", [-32768.0, 1e20, -3.4e38])
def test_outliers_in_the_empty_margin_move_no_box_and_no_other_voxel(kind: str, value: float) -> None:
    image, labels = volume()
    image[0, 0, 0, :2] = value
    assert settings(kind=kind).crop_to_nonzero
    found, wanted = (prepare(i, labels, GRID, settings(kind=kind)) for i in (image, volume()[0]))
    assert found.box == wanted.box == BOX
    assert np.array_equal(found.image, wanted.image)
