"""Displaced fragments in a mask are repositioned, and count as a part of the region to complete."""

import numpy as np
import pytest
from scipy import ndimage
from small_completion import Tibia, complete

from kneeformer.labels import COMPLETE, KEEP
from kneeformer.tasks.bone_completion.fragments import as_region
from kneeformer.tasks.cases import Outputs

TIBIA = Tibia.scanned(40)
X, _, Z = np.moveaxis(TIBIA.grid.voxel_centres(), -1, 0)
PIECE = TIBIA.bone & (np.quantile(Z[TIBIA.bone], 0.7) < Z) & (np.median(X[TIBIA.bone]) < X)
SHIFT = (0, 2, 0)  # voxels of 2.5 mm
MOVED = np.roll(PIECE, SHIFT, (0, 1, 2))
SOFT = np.where(PIECE, np.median(TIBIA.ct[~TIBIA.bone]), TIBIA.ct)
CT = np.where(MOVED, np.roll(TIBIA.ct, SHIFT, (0, 1, 2)), SOFT).astype(TIBIA.ct.dtype)


def mask() -> np.ndarray:
    region = ndimage.binary_dilation(PIECE | MOVED, iterations=2)
    return np.select([MOVED, region, TIBIA.bone], [3, COMPLETE, KEEP], 0).astype(np.uint8)


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    return complete(CT, mask(), TIBIA.grid)


def test_a_fragment_is_put_back(outputs: Outputs) -> None:
    (facts,) = outputs.facts["fragments"]
    assert facts["label"] == 3 and facts["volume_mm3"] == round(MOVED.sum() * TIBIA.grid.voxel_mm3, 1)
    matrix = outputs.transforms["_fragment3"]
    assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3)) and np.linalg.det(matrix[:3, :3]) > 0
    back = outputs.volumes["_fragments"]
    assert set(np.unique(back)) == {0, 3}
    overlap = [2 * (one & PIECE).sum() / (one.sum() + PIECE.sum()) for one in (MOVED, back == 3)]
    assert overlap[1] > 0.95 and overlap[0] < 0.85
    there = outputs.surfaces["_fragment3"]
    assert np.allclose(there.centre_of_volume, TIBIA.grid.voxel_centres()[back == 3].mean(0), atol=1.0)


def test_a_fragment_counts_as_region(outputs: Outputs) -> None:
    plain = complete(CT, as_region(mask()), TIBIA.grid)
    assert plain.facts["fragments"] == [] and "_fragments" not in plain.volumes
    for name, volume in plain.volumes.items():
        assert np.array_equal(volume, outputs.volumes[name])
