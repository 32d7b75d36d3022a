"""The Fourier transform is centred, orthonormal, and its inverse is its adjoint."""

import numpy as np
import pytest

from kneeformer.kspace.fourier import centre_crop, root_sum_of_squares, to_image, to_kspace

AXES = [(-1,), (-2, -1), (-3, -2, -1)]


def complex_noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def test_a_point_in_the_middle_is_flat_in_kspace_and_the_other_way_round() -> None:
    for size in (8, 9):
        point = np.zeros((size, size), np.complex64)
        point[size // 2, size // 2] = 1
        np.testing.assert_allclose(to_kspace(point), np.full((size, size), 1 / size), atol=1e-6)
        np.testing.assert_allclose(to_image(point), np.full((size, size), 1 / size), atol=1e-6)


@pytest.mark.parametrize("axes", AXES)
def test_the_transform_is_undone_and_keeps_energy_and_precision(axes: tuple[int, ...]) -> None:
    image = complex_noise(0, (5, 7, 8))
    kspace = to_kspace(image, axes)
    assert kspace.dtype == np.complex64
    assert np.linalg.norm(to_image(kspace, axes) - image) < 1e-6 * np.linalg.norm(image)
    assert np.linalg.norm(kspace) == pytest.approx(np.linalg.norm(image), rel=1e-6)


@pytest.mark.parametrize("axes", AXES)
def test_the_inverse_is_the_adjoint(axes: tuple[int, ...]) -> None:
    image, samples = complex_noise(1, (6, 7, 8)), complex_noise(2, (6, 7, 8))
    assert np.vdot(samples, to_kspace(image, axes)) == pytest.approx(
        np.vdot(to_image(samples, axes), image), rel=1e-5
    )


def test_the_crop_is_that_of_fastmri() -> None:
    assert centre_crop(np.arange(7), (4,)).tolist() == [1, 2, 3, 4]
    assert centre_crop(np.arange(8), (5,)).tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="no middle"):
        centre_crop(np.arange(3), (4,))


def test_coils_are_combined_by_their_squares() -> None:
    assert root_sum_of_squares(np.array([[3j], [4 + 0j]])).tolist() == [5.0]
