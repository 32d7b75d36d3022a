"""The border of kept bone is a face of the fracture where a gap follows, and a cut where bone goes on."""

import numpy as np

from kneeformer.labels import COMPLETE, KEEP
from kneeformer.tasks.bone_completion.fracture_faces import faces

BONE, SOFT = 400, 40
MASK = np.zeros((20, 20, 40), np.uint8)
MASK[2:-2, 2:-2, :16], MASK[2:-2, 2:-2, 16:32] = KEEP, COMPLETE
CT = np.where(MASK > 0, BONE, SOFT).astype(np.int16)
CT[10:, :, 17:22] = SOFT  # a gap, and what a scanner blurs


def at_border(ct: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Where bone goes on, and where the gap is."""
    found = faces(ct, mask, mask == KEEP, (1.0, 1.0, 1.0))
    return float(found[5, 10, 15]), float(found[14, 10, 15])


def test_a_gap_tells_a_face_from_a_cut() -> None:
    goes_on, gap = at_border(CT, MASK)
    assert goes_on == 0 and gap > 0.2


def test_a_fragment_that_lies_there_is_no_bone_that_goes_on() -> None:
    mask = MASK.copy()
    mask[2:10, 2:-2, 17:28] = 3
    assert at_border(CT, mask)[0] > 0.2


def test_without_bone_to_keep_there_is_no_face() -> None:
    assert not faces(CT, np.where(MASK == KEEP, 0, MASK), MASK == KEEP, (1.0, 1.0, 1.0)).any()
