"""Training bones whose side seems wrong: mirrored, they do not fit the bones that are not mirrored."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.tasks.bone_completion.which_side import FEW_POINTS, WORSE, outliers

_FEWEST = 3  # bones that a prototype needs
_ROUNDS = 2  # of its estimation


@torch.no_grad()
def wrongly_mirrored(
    registration: Registration, bones: Sequence[Tensor], mirrored: Sequence[bool], axis: int
) -> list[int]:
    """Numbers of the mirrored bones that would fit the others better without mirroring.

    The comparison needs a prototype of unmirrored bones: one of all bones would blend both sides.

    Args:
        bones: (2, z, y, x) each, on the grid of the registration.
        mirrored: for each bone, whether it was mirrored into the side of the others.
        axis: of (z, y, x), along which bones are mirrored.
    """
    settings = registration.settings.model_copy(update={"rounds": _ROUNDS})
    as_they_are = [bone for bone, was in zip(bones, mirrored, strict=True) if not was]
    if not settings.steps or len(as_they_are) < _FEWEST or not any(mirrored):
        return []
    of_one_side = Registration(registration.grid, registration.spacing, settings).to(bones[0].device)
    fit_prototype(of_one_side, as_they_are)

    def misses(image: Tensor) -> float:
        whole = torch.ones_like(image[DISTANCE], dtype=torch.bool)
        return outliers([of_one_side(image, whole, points=FEW_POINTS)])

    candidates = [n for n, was in enumerate(mirrored) if was]
    return [n for n in candidates if misses(bones[n]) > WORSE * misses(bones[n].flip(axis + 1))]
