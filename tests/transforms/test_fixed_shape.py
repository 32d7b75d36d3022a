"""Every case on one grid, whatever its spacing, and back on its own."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kneeformer.config import Normalisation, PreprocessingSettings
from kneeformer.engine.native import to_label_map
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.boxes import whole_box
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.transforms.prepare import prepare
from kneeformer.transforms.resample import resample_image, weights

FIXED = (18, 40, 40)


def settings(thick_axis: int | None = None) -> PreprocessingSettings:
    return PreprocessingSettings(
        folder="test",
        spacing=(3.0, 0.5, 0.5),
        orientations=("SPL",),
        median_shape=FIXED,
        fixed_shape=FIXED,
        thick_axis=thick_axis,
        interpolation="linear",
        crop_to_nonzero=False,
        normalisation=(Normalisation(kind="unit"),),
    )


@pytest.mark.parametrize("thick_axis", [None, 0])
@pytest.mark.parametrize("shape", [(24, 50, 36), (18, 40, 40), (90, 64, 48)])
def test_a_box_comes_back_on_its_own_grid(shape: Size, thick_axis: int | None) -> None:
    labels = np.zeros(shape, np.uint8)
    z, y, x = shape
    labels[z // 6 : 5 * z // 6, y // 5 : 4 * y // 5, x // 4 : 3 * x // 4] = 1
    prepared = prepare(labels[None] * 100, labels, Grid(shape, (1.0, 0.3, 0.4)), settings(thick_axis))
    assert prepared.box == whole_box(labels.shape) and prepared.labels is not None
    assert prepared.image.shape == (1, *FIXED) and prepared.labels.shape == FIXED
    logits = torch.from_numpy(np.stack([prepared.labels == 0, prepared.labels == 1])).float()
    scheme = LabelScheme.from_json({"background": 0, "box": 1}, None)
    back = to_label_map(logits, shape, scheme, thick_axis)
    assert back.shape == shape
    assert 2 * (back & labels).sum() / (back.sum() + labels.sum()) > 0.97


def test_the_spacing_of_a_case_does_not_matter() -> None:
    image = np.random.default_rng(0).uniform(0, 9, (1, 12, 30, 30)).astype(np.float32)
    coarse, fine = (
        prepare(image, None, Grid((12, 30, 30), spacing), settings()).image
        for spacing in ((3.0, 0.5, 0.5), (1.0, 1.0, 0.2))
    )
    assert np.array_equal(coarse, fine)


def test_linear_interpolation_stays_between_its_neighbours() -> None:
    image = np.zeros((1, 12, 30, 30), np.float32)
    image[0, 4:8, 10:20, 10:20] = 1
    linear = resample_image(image, FIXED, None, "linear")
    assert linear.min() >= 0 and linear.max() <= 1
    assert resample_image(image, FIXED, None).min() < -0.01  # cubic overshoots
    along_z = np.einsum("nz,zyx->nyx", weights(12, 18, "linear").toarray(), image[0])
    expected = np.einsum("ny,zyx->znx", weights(30, 40, "linear").toarray(), along_z)
    expected = np.einsum("nx,zyx->zyn", weights(30, 40, "linear").toarray(), expected)
    assert np.allclose(linear[0], expected, atol=1e-5)


def test_a_fixed_shape_is_not_of_a_cut_box() -> None:
    with pytest.raises(ValidationError, match="set crop_to_nonzero to false"):
        PreprocessingSettings(
            folder="test",
            spacing=(3.0, 0.5, 0.5),
            orientations=("SPL",),
            median_shape=FIXED,
            fixed_shape=FIXED,
            normalisation=(Normalisation(kind="unit"),),
        )
