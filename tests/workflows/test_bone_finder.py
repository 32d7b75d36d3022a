"""The bone to keep of masks that mark none, found by a threshold in place of a network."""

from pathlib import Path

import numpy as np
import pytest

from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.tasks.cases import Outputs, Scan
from kneeformer.workflows.bone_finder import BoneFinder

CT = np.array([[[-1000, 40, 900, 700, 300, 40]]], np.int16)  # bone in the third to fifth voxel
REGION = np.array([[[0, 0, 0, 2, 2, 2]]], np.uint8)


def scan(mask: np.ndarray) -> Scan:
    return Scan(CT[None], Grid((1, 1, 6), (1.0, 1.0, 1.0)), mask, "left")


def threshold(unmarked: Scan) -> Outputs:
    """Two structures, as a dataset may have: shaft 1, cortex 2."""
    assert unmarked.mask is None and unmarked.side == "left"
    (ct,) = unmarked.image
    return Outputs({"": np.where(ct > 800, 2, ct > 200).astype(np.uint8)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trained fold, as far as it is looked for."""
    fold = tmp_path / "Dataset002_Tibia" / "kfPlans__3d_segmentation" / "fold_1"
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pt").touch()
    return fold.parent


def test_what_is_found_outside_the_region_is_kept(folder: Path) -> None:
    found = BoneFinder(folder, lambda: threshold).with_bone(scan(REGION))
    assert found.mask is not None and found.mask.tolist() == [[[0, 0, 1, 2, 2, 2]]]
    assert found.mask.dtype == np.uint8
    assert found.bone_found_by == "3d_segmentation" and found.side == "left"


def test_it_is_loaded_when_a_mask_first_needs_it_and_once(folder: Path) -> None:
    loaded = []
    finder = BoneFinder(folder, lambda: loaded.append(1) or threshold)
    marked = scan(np.array([[[0, 1, 0, 2, 2, 2]]], np.uint8))
    assert finder.with_bone(marked) is marked and not loaded
    for _ in range(2):
        finder.with_bone(scan(REGION))
    assert loaded == [1]


def test_a_region_over_the_whole_bone_is_told(folder: Path) -> None:
    hidden = np.array([[[0, 0, 2, 2, 2, 0]]], np.uint8)
    with pytest.raises(KneeformerError, match="everything is hidden: 3d_segmentation finds hardly any"):
        BoneFinder(folder, lambda: threshold).with_bone(scan(hidden))


def test_the_other_leg_is_left_out_and_told(folder: Path) -> None:
    """30 voxels of a ml at the region, 10 elsewhere."""
    ct = np.zeros((1, 12, 10), np.int16)
    ct[0, :3], ct[0, 7] = 900, 900
    region = np.zeros(ct.shape, np.uint8)
    region[0, 1:4, 8:] = 2
    grid = Grid((1, 12, 10), (10.0, 10.0, 10.0))
    finder = BoneFinder(folder, lambda: threshold)
    found = finder.with_bone(Scan(ct[None], grid, region, "left"))
    assert found.mask is not None and np.array_equal(
        found.mask == 1, (ct > 0) & (region == 0) & (np.arange(12)[:, None] < 3)
    )
    (doubt,) = found.doubts
    assert doubt.startswith("3d_segmentation finds 10.0 ml of bone that do not reach the region to complete")
    assert "beside 30.0 ml that do" in doubt and "mark it with 1" in doubt


def test_untrained_it_says_what_to_do(folder: Path) -> None:
    finder = BoneFinder(folder, lambda: threshold)
    assert finder.refusal() is None
    (folder / "fold_1" / "checkpoint_final.pt").rename(folder / "fold_1" / "checkpoint_latest.pt")
    refusal = finder.refusal()
    assert refusal is not None and str(folder) in refusal
    assert "3d_segmentation, which would find the bone, is not trained" in refusal
    assert "mark the bone to keep with 1" in refusal
    assert "kf_train Dataset002_Tibia 3d_segmentation 0 -p kfPlans" in refusal
    with pytest.raises(KneeformerError, match="is not trained"):
        finder.with_bone(scan(REGION))
