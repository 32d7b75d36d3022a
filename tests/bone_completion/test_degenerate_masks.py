"""Masks that hardly tell a bone: completed with a warning, or refused in one sentence, and nothing else."""

import json

import numpy as np
import pytest
from small_completion import Tibia, complete

from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.tasks.cases import Outputs

pytestmark = pytest.mark.slow

TIBIA = Tibia.scanned(20)
BONE = TIBIA.bone
Z, Y, X = (int(v.mean()) for v in np.nonzero(BONE))  # its middle
NOTHING_SEEN = "no surface of the bone to keep is visible"


def drawn(*boxes: tuple[int, tuple[slice, ...]], bone: bool = False) -> np.ndarray:
    """A mask with the bone to keep, or with nothing, and values in boxes drawn over that."""
    mask = np.where(BONE, KEEP, 0) if bone else np.zeros(BONE.shape, int)
    for value, box in boxes:
        mask[box] = value
    return mask


def answer(mask: np.ndarray, grid: Grid = TIBIA.grid) -> Outputs | str:
    """Sound outputs, or what the error says."""
    z, y, x = mask.shape
    try:
        outputs = complete(TIBIA.ct[:z, :y, :x], mask, grid)
    except KneeformerError as fault:
        return str(fault)
    json.dumps(outputs.facts, allow_nan=False)
    assert set(outputs.surfaces) == set(outputs.transforms) == {""}
    assert np.isfinite(outputs.surfaces[""].vertices).all() and np.isfinite(outputs.transforms[""]).all()
    for volume in outputs.volumes.values():
        assert volume.shape == mask.shape and np.isfinite(volume).all()
    return outputs


BLOCK = np.s_[Z : Z + 4, Y : Y + 4, X + 1 : X + 4]
UNSEEN = {
    "everything kept but the region": drawn((KEEP, np.s_[:]), (COMPLETE, BLOCK)),
    "one voxel to keep, all else region": drawn((COMPLETE, np.s_[:]), (KEEP, np.s_[Z, Y, X])),
    "two voxels a side": np.array([1, 2, 0, 0, 0, 0, 0, 0]).reshape(2, 2, 2),
    "between two slices": drawn((COMPLETE, np.s_[:, : Y - 5]), bone=True)[Z : Z + 2],
}


@pytest.mark.parametrize("mask", UNSEEN.values(), ids=UNSEEN)
def test_a_bone_without_a_visible_surface_is_refused(mask: np.ndarray) -> None:
    z, y, x = mask.shape
    said = answer(mask, Grid((z, y, x), TIBIA.grid.spacing))
    assert isinstance(said, str) and said.startswith(NOTHING_SEEN) and "mark more bone" in said


@pytest.mark.parametrize("spacing", [0.01, 100.0])
def test_a_bone_of_another_unit_is_refused(spacing: float) -> None:
    said = answer(drawn((COMPLETE, BLOCK), bone=True), Grid(BONE.shape, (spacing,) * 3))
    assert isinstance(said, str) and said.startswith(NOTHING_SEEN) and "spacings are in mm" in said


DOUBTFUL = {
    "one voxel": (drawn((KEEP, np.s_[Z, Y, X]), (COMPLETE, BLOCK)), "keep more bone"),
    "two pieces of two voxels": (
        drawn((KEEP, np.s_[Z, Y, X - 2 : X]), (KEEP, np.s_[Z + 9, Y, X - 2 : X]), (COMPLETE, BLOCK)),
        "keep more bone",
    ),
    "a line": (drawn((KEEP, np.s_[Z, Y, 3:-3]), (COMPLETE, BLOCK)), "keep more bone"),
    "dots": (drawn((KEEP, np.s_[::2, ::2, ::2]), (COMPLETE, BLOCK)), "the registration has failed"),
    "all but the bone": (1 - drawn(bone=True) + (np.indices(BONE.shape).sum(0) == 0), "has failed"),
    "most is hidden": (drawn((COMPLETE, np.s_[Z - 4 :]), bone=True), "% of the bone is completed, more than"),
    "a region beside the bone": (
        drawn((COMPLETE, np.s_[:2, :2, :2]), bone=True),
        "touches no bone to keep: draw it where bone is missing",
    ),
    "nothing to add": (drawn((COMPLETE, np.s_[:2, :2, :2]), bone=True), "nothing is completed"),
}


@pytest.mark.parametrize(("mask", "said"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_mask_that_tells_little_is_warned_of_or_refused(mask: np.ndarray, said: str) -> None:
    found = answer(mask)
    told = [found] if isinstance(found, str) else found.facts["warnings"]
    assert any(said in line or "more bone" in line for line in told)


def test_where_nothing_is_completed_facts_are_numbers() -> None:
    found = answer(drawn((COMPLETE, np.s_[:2, :2, :2]), bone=True))
    assert isinstance(found, Outputs)
    assert found.facts["completed_mm3"] == 0 and found.facts["hidden_fraction"] == 0
    assert found.facts["volume_mm3"] == pytest.approx(BONE.sum() * 2.5**3)


def test_a_sound_mask_is_warned_of_nothing() -> None:
    found = answer(drawn((COMPLETE, np.s_[Z + 8 :, : Y + 3]), bone=True))
    assert isinstance(found, Outputs) and found.facts["warnings"] == []
    assert found.facts["region_touches_bone"] and found.facts["visible_surface"] > 0.5


def test_a_bone_far_longer_than_those_learnt_is_told_to_leave_their_grid() -> None:
    """A shaft goes on for 150 mm below: the grid reaches 62 mm from the middle."""
    below = 60
    mask = np.pad(drawn((COMPLETE, np.s_[Z + 8 :, : Y + 3]), bone=True), ((below, 0), (0, 0), (0, 0)))
    mask[: below + Z, Y - 4 : Y + 5, X - 4 : X + 5] = KEEP
    ct = np.pad(TIBIA.ct, ((below, 0), (0, 0), (0, 0)), constant_values=900)
    told = complete(ct, mask, Grid(mask.shape, TIBIA.grid.spacing)).facts["warnings"]
    (outside,) = (w for w in told if "lie outside the grid of the training bones and are not used" in w)
    assert 0.1 < float(outside.partition("%")[0]) / 100 < 0.9


def test_pieces_left_out_of_a_bone_are_told() -> None:
    mask = drawn((COMPLETE, np.s_[Z + 8 :, : Y + 3]), bone=True)
    mask[:3, :3, :3] = KEEP  # 422 mm3
    found = answer(mask)
    assert isinstance(found, Outputs)
    assert [w for w in found.facts["warnings"] if w.startswith("0.4 ml of the bone are left out")]
    assert not found.volumes[""][:3, :3, :3].any()


def test_no_mask_ends_in_anything_but_an_answer_or_a_sentence() -> None:
    """Random boxes of 0, 1 and 2 over a bone or over nothing, in scans of random size and spacing."""
    rng = np.random.default_rng(14)
    for _ in range(20):
        whole = rng.random() < 0.5
        z, y, x = BONE.shape if whole else (int(rng.integers(2, n)) for n in BONE.shape)
        mask = drawn(bone=bool(rng.random() < 0.6))[:z, :y, :x]
        for _ in range(rng.integers(1, 6)):
            first = [int(rng.integers(n)) for n in mask.shape]
            box = tuple(slice(f, int(rng.integers(f, n)) + 1) for f, n in zip(first, mask.shape, strict=True))
            mask[box] = rng.integers(3)
        a, b, c = (float(mm) for mm in rng.choice([0.5, 1.0, 2.5, 5.0], 3))
        found = answer(mask, Grid((z, y, x), (a, b, c)))
        assert isinstance(found, Outputs) or "bone" in found
