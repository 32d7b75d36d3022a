"""The k-space phantom is a knee in fastMRI's layout."""

from pathlib import Path

import h5py
import numpy as np

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import read_image
from kneeformer.kspace.fourier import zero_filled
from kneeformer.phantoms.knee import make_knee
from kneeformer.phantoms.kspace import SHAPE, SPACING_MM, make_kspace, write_kspace_dataset


def test_equal_seeds_give_equal_knees_of_the_layout() -> None:
    one, same = (make_kspace(np.random.default_rng(0), noise=n) for n in (0.02, 0.02))
    assert (one == same).all() and one.shape == (8, 4, 128, 74) and one.dtype == np.complex64
    assert not one[..., :4].any() and not one[..., -4:].any() and one[..., 4].any()


def test_the_image_of_a_file_is_in_its_middle_and_its_grid_in_the_header(tmp_path: Path) -> None:
    write_kspace_dataset(tmp_path, cases=1, seed=0, test=1)
    (case,) = Dataset.open(tmp_path).training_cases()
    image = read_image(case.images[0])
    assert case.label is None and image.grid.shape == SHAPE
    np.testing.assert_allclose(image.grid.spacing, SPACING_MM)
    with h5py.File(case.images[0]) as file:
        stored = file["reconstruction_rss"][()]
    np.testing.assert_allclose(zero_filled(image.array, SHAPE), stored, rtol=1e-5, atol=1e-6)
    true = make_knee(np.random.default_rng([0, 0, 0]), SHAPE, SPACING_MM)[0]
    assert np.corrcoef(true.ravel(), stored.ravel())[0, 1] > 0.98
