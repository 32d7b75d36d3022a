"""A scan of a bone gives the same completed bone in whichever of the 48 ways its axes are stored."""

from itertools import permutations, product

import numpy as np
import pytest
from small_completion import GRID, Tibia, complete

from kneeformer.geometry.orientation import ENDS, turn
from kneeformer.labels import COMPLETE
from kneeformer.tasks.bone_completion.fractures import hide
from kneeformer.tasks.bone_completion.isolation import isolate

ORIENTATIONS = ["".join(ends) for lines in permutations(ENDS) for ends in product(*lines)]


def scanned() -> tuple[Tibia, np.ndarray]:
    tibia = Tibia.scanned(20)
    return tibia, hide(tibia.bone, tibia.grid, np.random.default_rng(20)).astype(np.uint8)


def test_all_48_ways_to_store_a_bone_are_isolated_alike() -> None:
    tibia, mask = scanned()
    own = tibia.grid.orientation()
    wanted = isolate(tibia.ct, mask, tibia.grid, GRID)
    for other in ORIENTATIONS:
        ct, stored = (np.ascontiguousarray(turn(a, own, other)) for a in (tibia.ct, mask))
        found = isolate(ct, stored, tibia.grid.turned(other), GRID)
        assert np.allclose(found.to_patient, wanted.to_patient, atol=1e-6), other
        assert np.allclose(found.image, wanted.image, atol=1e-2), other  # distances in mm are float32
        assert np.mean(found.known != wanted.known) < 1e-3, other


@pytest.mark.slow
@pytest.mark.parametrize("other", ["LSA"])
def test_the_completed_bone_is_the_same_and_lies_as_the_scan_does(other: str) -> None:
    tibia, mask = scanned()
    own = tibia.grid.orientation()
    wanted = complete(tibia.ct, mask, tibia.grid).volumes[""]
    ct, stored = (np.ascontiguousarray(turn(a, own, other)) for a in (tibia.ct, mask))
    found = turn(complete(ct, stored, tibia.grid.turned(other)).volumes[""], other, own)
    for region in (np.ones_like(mask, bool), mask == COMPLETE):
        both, sizes = (found & wanted)[region] > 0, (found[region] > 0).sum() + (wanted[region] > 0).sum()
        assert 2 * both.sum() / sizes >= 0.995
