"""Units of a CT, told by its histogram."""

import numpy as np
import pytest

from kneeformer.data.hounsfield import ct_warnings, hounsfield_fault, intensity_warnings


def ct(noise: float = 20.0) -> np.ndarray:
    """HU of a limb in air: fat, muscle, spongy bone within a cortex."""
    rng = np.random.default_rng(0)
    voxels = np.full((20, 30, 30), -1000.0)
    voxels[:, 8:22, 8:22] = -100
    voxels[:, 9:21, 9:21] = 50
    voxels[:, 12:18, 12:18] = 1400
    voxels[:, 13:17, 13:17] = 300
    return voxels + noise * rng.standard_normal(voxels.shape)


def around(padding: float, voxels: np.ndarray) -> np.ndarray:
    """With a padding outside of a circular field of view."""
    y, x = np.indices(voxels.shape[1:]) - 14.5
    return np.where(y**2 + x**2 > 14**2, padding, voxels)


@pytest.mark.parametrize(
    "voxels",
    [
        ct(),
        ct(0),
        ct().clip(-1000),
        around(-2000, ct()),
        around(-3024, ct()),
        around(-32768, ct()),
        around(0, ct()),
        ct()[:, 8:22, 8:22],  # cropped to the limb: no air
        ct()[:, 10:20, 10:20],  # to muscle and bone
    ],
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_hounsfield_units_are_known(voxels: np.ndarray, dtype: type) -> None:
    assert hounsfield_fault(voxels.astype(dtype)) is None


@pytest.mark.parametrize(
    ("voxels", "said"),
    [
        ((ct() + 1000) / 2500, "the scan is scaled"),
        (((ct() + 1000) / 2500 * 255).clip(0, 255).astype(np.uint8), "the scan is scaled"),
        ((ct() + 1024).clip(0).astype(np.uint16), "an offset (often 1024) is missing"),
        ((ct() + 1024)[:, 10:20, 10:20], "an offset (often 1024) is missing"),
        (((ct() + 1000) * 0.5).clip(0).round(), "an offset (often 1024) is missing"),
        ((ct() + 1000).clip(0) * 26, "the scan is scaled"),
        (ct() + 1000, "an offset (often 1024) is missing"),  # whose noise goes below 0
        (around(-2000, ct() + 1024).astype(np.int16), "an offset (often 1024) is missing"),
        (np.linspace(-9000, -5000, 18_000).reshape(20, 30, 30), "all below -1100"),
    ],
)
def test_other_units_are_told(voxels: np.ndarray, said: str) -> None:
    (warning,) = ct_warnings(voxels)
    assert warning == hounsfield_fault(voxels) and said in warning and "air is -1000" in warning


def test_metal_is_told() -> None:
    voxels = ct()
    voxels[3, 4, 5:14] = 3071
    assert hounsfield_fault(voxels) is None
    assert ct_warnings(voxels) == [
        "9 voxels (0.05 %) are 3071 HU or more: metal, whose streaks can pass for bone"
    ]


def test_only_a_channel_called_ct_is_to_be_in_hounsfield_units() -> None:
    assert len(intensity_warnings(ct() + 1024, "ct")) == 1
    assert intensity_warnings(ct() + 1024, "PDFS") == []
