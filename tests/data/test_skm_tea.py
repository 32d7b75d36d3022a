"""The layout of SKM-TEA: a 3D scan, its readout transformed already."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from kneeformer.data.check import check_case
from kneeformer.data.dataset import Case
from kneeformer.data.description import DatasetDescription
from kneeformer.data.images import read_image
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import root_sum_of_squares, to_kspace, zero_filled


def test_the_first_echo_is_read_with_the_readout_in_kspace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    image = (rng.random((8, 7, 6, 2, 3)) + 1j * rng.random((8, 7, 6, 2, 3))).astype(np.complex64)
    hybrid = to_kspace(image, (1, 2))  # (x, ky, kz, echoes, coils)
    hybrid[:, 0], hybrid[:, :, 5] = 0, 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["maps"], file["target"] = hybrid, image[..., 0, :], image[..., :1]
    found = read_image(tmp_path / "a.h5")
    assert found.array.shape == (3, 1, 6, 8, 7) and found.array.dtype == np.complex64
    assert found.grid == Grid((6, 8, 7), (1.0, 1.0, 1.0)) and found.facts == {"orientation": "unknown"}
    measured = found.array.any((0, 1, 3))
    assert (measured == np.outer(np.arange(6) < 5, np.arange(7) > 0)).all(), "zeros stay exact"
    assert "the first of 2 echoes" in caplog.text and "1 mm" in caplog.text


def test_all_samples_give_the_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = (rng.random((8, 7, 6, 1, 2)) + 1j * rng.random((8, 7, 6, 1, 2))).astype(np.complex64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = to_kspace(image, (1, 2))
    found = read_image(tmp_path / "a.h5")
    true = root_sum_of_squares(np.moveaxis(image[..., 0, :], (3, 2), (0, 1)))
    np.testing.assert_allclose(zero_filled(found.array, found.grid.shape), true, rtol=1e-4)


@pytest.mark.parametrize(("named", "problems"), [(None, 0), ([0, 2], 0), ([2], 1)])
def test_dataset_json_may_not_name_other_axes(tmp_path: Path, named: list[int] | None, problems: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.ones((8, 7, 6, 1, 2), np.complex64)
    description = DatasetDescription.model_validate(
        {"channel_names": {"0": "k"}, "labels": {}, "file_ending": ".h5", "phase_encoding_axes": named}
    )
    found = check_case(Case("a", (tmp_path / "a.h5",)), description).problems
    assert len(found) == problems and all("a 3D scan" in line for line in found)


def test_axes_that_cannot_be_encoded_are_refused() -> None:
    said = {"channel_names": {"0": "k"}, "labels": {}, "file_ending": ".h5", "phase_encoding_axes": [1]}
    with pytest.raises(ValueError, match=r"\[1\] is neither \[2\]"):
        DatasetDescription.model_validate(said)
