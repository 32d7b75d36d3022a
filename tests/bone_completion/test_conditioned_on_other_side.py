"""A broken bone completed by the prior of its person, whose bone of the other side is whole."""

import numpy as np
import pytest
from small_completion import Tibia, complete

from kneeformer.labels import COMPLETE
from kneeformer.tasks.bone_completion.fractures import hide
from kneeformer.tasks.bone_completion.other_side import doubts_of_other_side
from kneeformer.tasks.cases import Outputs, Scan

pytestmark = pytest.mark.slow

OWN = Tibia.scanned(33, left=True)
MASK = hide(OWN.bone, OWN.grid, np.random.default_rng(2), share=0.35)


def completed(person: int | None, offset: int = 0) -> Outputs:
    """By the right bone of a person, whose left one is its mirror image, in a scan with an offset."""
    other = None
    if person is not None:
        tibia = Tibia.scanned(person)
        other = Scan(tibia.ct[None] + offset, tibia.grid, tibia.bone.astype(np.uint8), "right")
    return complete(OWN.ct, MASK, OWN.grid, own="right", side="left", other=other)


def wrong_mm3(outputs: Outputs) -> int:
    hidden = MASK == COMPLETE
    return int(((outputs.volumes[""] > 0) != OWN.bone)[hidden].sum())


def test_it_completes_nearer_and_says_how_much_it_relied_on_it() -> None:
    alone, own = completed(None), completed(33)
    assert wrong_mm3(own) < 0.7 * wrong_mm3(alone)
    assert alone.facts["other_side"] == {}
    said = own.facts["other_side"]
    assert 0.2 < said["variance_removed"] < 1 and said["pairs"] == 0
    assert own.facts["warnings"] == []


def test_the_ct_of_an_other_side_that_is_not_in_hounsfield_units_says_nothing() -> None:
    right, wrong, wronger = (completed(33, offset).volumes for offset in (0, 1024, 9000))
    region = right["_region"] > 0
    assert all(np.array_equal(wrong[name], wronger[name]) for name in wrong)
    assert all(np.array_equal(wrong[name], right[name]) for name in wrong if name != "_ct")
    apart = np.abs(wrong["_ct"][region].mean() - OWN.ct[region & OWN.bone].mean())
    assert 0 < np.abs(wrong["_ct"] - right["_ct"])[region].mean() < 150 and apart < 150


def test_sides_that_differ_are_told() -> None:
    usual = {"shape_disagreement": 0.9, "size_disagreement": -4.0}
    assert doubts_of_other_side({}) == doubts_of_other_side(usual) == []
    for key, value in (("shape_disagreement", 1.2), ("size_disagreement", -5.5)):
        (line,) = doubts_of_other_side(usual | {key: value})
        assert "differ by more than sides usually do" in line
