"""A completion of scans that are not in Hounsfield units."""

import numpy as np
import pytest
from small_completion import Tibia, complete

from kneeformer.labels import COMPLETE, KEEP
from kneeformer.tasks.bone_completion.native import AIR_HU

pytestmark = pytest.mark.slow

TIBIA = Tibia.scanned(21)
Z, Y, X = (int(v.mean()) for v in np.nonzero(TIBIA.bone))
MASK = np.where(TIBIA.bone, KEEP, 0)
MASK[Z - 2 : Z + 3, Y - 4 : Y + 5, X : X + 12] = COMPLETE


def test_of_a_scan_in_hounsfield_units_nothing_is_said() -> None:
    outputs = complete(TIBIA.ct, MASK, TIBIA.grid)
    assert not any("Hounsfield" in line for line in outputs.facts["warnings"])
    assert np.array_equal(outputs.volumes["_ct"][MASK == KEEP], TIBIA.ct[MASK == KEEP])


@pytest.mark.parametrize(("scale", "dtype"), [(0.08, np.uint8), (1.0, np.uint16), (1.0, np.float32)])
def test_another_unit_is_told_in_the_facts_and_no_ct_holds_two_scales(scale: float, dtype: type) -> None:
    ct = ((TIBIA.ct.clip(-1024, 2000).astype(np.float64) + 1024) * scale).astype(dtype)
    outputs = complete(ct, MASK, TIBIA.grid)
    assert "in Hounsfield units air is -1000" in outputs.facts["warnings"][0]
    written = outputs.volumes["_ct"]
    assert written.dtype == np.int16
    assert (written[outputs.volumes[""] == 0] == AIR_HU).all()
    assert written.min() >= -1024 and written.max() <= 1500  # of the model alone, whose window this is


def test_a_scan_in_other_units_says_nothing_of_the_ct_of_what_is_hidden() -> None:
    """Two wrong units give the same completion, and another one than Hounsfield units do in its CT alone."""
    air_at_0 = TIBIA.ct.clip(-1024, 2000).astype(np.float64) + 1024
    first, second = (complete(s * air_at_0, MASK, TIBIA.grid).volumes for s in (1.0, 0.08))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    read = complete(TIBIA.ct, MASK, TIBIA.grid).volumes
    region = read["_region"] > 0
    assert region.any() and (read["_ct"][region] != first["_ct"][region]).mean() > 0.5
    assert all(np.array_equal(read[name], first[name]) for name in read if name != "_ct")
