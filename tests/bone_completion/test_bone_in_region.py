"""Bone that is left in a region is found on the CT, up to gaps that a scanner's blur fills."""

import numpy as np
import pytest
from scipy import ndimage

from kneeformer.labels import COMPLETE, KEEP
from kneeformer.tasks.bone_completion.bone_in_region import bone_in_region

SOFT, SPONGY, CORTEX = 40.0, 250.0, 1100.0
SPACING = (1.0, 0.8, 0.8)
SHAPE = (30, 40, 60)
X = np.arange(60)
SLAB = np.zeros(SHAPE, bool)
SLAB[4:-4, 5:-5] = True
LEFT = SLAB & (X >= 5) & (X < 30)  # of which the mask keeps a half


def scanned(bone: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """CT of bone with a cortex of 1.5 mm, blurred by 0.7 mm."""
    depth = ndimage.distance_transform_edt(bone, SPACING)
    sharp = np.where(bone, np.where(depth < 1.5, CORTEX, SPONGY), SOFT)
    blurred = ndimage.gaussian_filter(sharp, [0.7 / mm for mm in SPACING])
    return np.asarray(blurred + noise * np.random.default_rng(0).standard_normal(SHAPE))


def drawn(fragment: np.ndarray) -> np.ndarray:
    """The mask keeps the first voxels along x; the region is all else around bone."""
    around = ndimage.binary_dilation(SLAB, iterations=4) & (X >= 18)
    return np.select([fragment, LEFT & ~around, around], [3, KEEP, COMPLETE], 0)


@pytest.mark.parametrize("noise", [0, 30])
@pytest.mark.parametrize("gap", [2, 6])  # voxels of 0.8 mm
def test_bone_is_found_up_to_the_gap(gap: int, noise: float) -> None:
    fragment = SLAB & (30 + gap <= X) & (X < 52)
    found = bone_in_region(scanned(LEFT | fragment, noise), drawn(fragment), SPACING)
    inner = found[8:-8, 10:-10] ^ ((X >= 5) & (X < 30))  # away from edges, which blur rounds
    assert inner.mean() < (0.001 if noise else 1e-9)
    assert np.count_nonzero(found ^ LEFT) < 0.01 * np.count_nonzero(LEFT)


def test_the_scale_of_the_ct_does_not_matter() -> None:
    fragment = SLAB & (X >= 33) & (X < 52)
    ct, mask = scanned(LEFT | fragment, 30), drawn(fragment)
    assert np.array_equal(bone_in_region(ct, mask, SPACING), bone_in_region(2 * ct + 1000, mask, SPACING))


def test_bone_apart_from_what_is_kept_is_not_in_place() -> None:
    """A piece that no label marks lies in the region."""
    fragment, piece = SLAB & (X >= 48) & (X < 56), SLAB & (X >= 35) & (X < 44)
    found = bone_in_region(scanned(LEFT | fragment | piece), drawn(fragment), SPACING)
    assert found[LEFT].mean() > 0.99 and not found[piece].any()


def test_nothing_is_found_where_bone_is_not_brighter() -> None:
    fragment = SLAB & (X >= 33) & (X < 52)
    mask = drawn(fragment)
    assert np.array_equal(bone_in_region(-scanned(LEFT | fragment), mask, SPACING), mask == KEEP)
    assert not bone_in_region(scanned(LEFT), np.where(mask == KEEP, 0, mask), SPACING).any()
