"""A scan is compared with what the network has learnt from."""

import numpy as np
import pytest
from small_reconstruction import configuration

from kneeformer.kspace.sampling import apparent_acceleration
from kneeformer.tasks.mri_reconstruction.unlike_training import unlike_training


def every(step: int, size: int = 65) -> np.ndarray:
    return np.arange(size) % step == 0


def test_acceleration_is_counted_between_the_outermost_samples() -> None:
    assert apparent_acceleration(np.array([0, 0, 1, 0, 0, 1, 0, 0, 1, 0], bool)) == pytest.approx(7 / 3)
    assert apparent_acceleration(np.outer(every(2, 5), every(4, 9))) == pytest.approx(45 / 9)
    assert apparent_acceleration(np.zeros(4, bool)) == np.inf


@pytest.mark.parametrize(
    ("step", "columns", "said"),
    [
        (4, 64, []),
        (8, 64, []),
        (2, 64, ["undersampled 2.0x"]),
        (16, 48, ["undersampled 13.0x", "48 columns"]),
    ],
)
def test_another_acceleration_or_matrix_is_a_warning(step: int, columns: int, said: list[str]) -> None:
    found = unlike_training(every(step), (2, 32, columns), configuration())
    assert len(found) == len(said) and all(a in b for a, b in zip(said, found, strict=True))


def test_partitions_of_a_3d_scan_are_compared_as_well() -> None:
    plain = configuration(crop=(1, 33, 65))
    axes = plain.preprocessing.model_copy(update={"phase_encoding_axes": (0, 2)})
    mask = np.outer(every(2, 33), every(2))
    for shape, said in (((33, 20, 65), []), ((40, 20, 65), ["40 slices"])):
        found = unlike_training(mask, shape, plain.model_copy(update={"preprocessing": axes}))
        assert len(found) == len(said) and all(a in b for a, b in zip(said, found, strict=True))
