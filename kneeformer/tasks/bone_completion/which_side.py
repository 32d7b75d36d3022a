"""The side and the pose of a bone: the side of its name or, without one, that which it fits better."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.registration import Fit
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.bone_orientation import Found, oriented_bone, tensors
from kneeformer.tasks.bone_completion.isolation import Bone, Outline
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

_SIDES: tuple[Side, Side] = ("left", "right")
WORSE = 2.0  # times the outliers of the other side: then the bone belongs to that one
FEW_POINTS = 2_000  # to check a given side


def register(
    models: Sequence[CompletionModel], outline: Outline, side: Side | None, settings: BoneGridSettings
) -> tuple[Found, list[Fit]]:
    """Orient a bone and register it to the prototype of each model, on both sides if the side is unknown.

    Args:
        side: of the body; None if unknown.

    Raises:
        KneeformerError: nothing of the bone's surface is visible.
    """
    first = models[0]

    def on(side: Side | None) -> tuple[Found, list[Fit]]:
        found = oriented_bone(outline, first.registration, first.family(), settings, side)
        return found, [model.registration(*tensors(found.bone, model.device)) for model in models]

    if settings.side is None:
        return on(None)
    if side is None:
        return min((on(side) for side in _SIDES), key=lambda registered: registered[0].misfit)
    found, fits = on(side)
    image, known = tensors(_mirrored(found.bone, settings.mirrored_axis), first.device)
    if outliers(fits) < WORSE * outliers([first.registration(image, known, points=FEW_POINTS)]):
        return found, fits
    other = _SIDES[side == "left"]
    doubt = f"its name or dataset.json says {side}, but it fits better as a {other} bone"
    return replace(found, doubts=(*found.doubts, doubt)), fits


def place(
    models: Sequence[CompletionModel], found: Found, fits: Sequence[Fit], settings: BoneGridSettings
) -> tuple[list[Fit], list[tuple[Tensor, Tensor]]]:
    """Find the pose of a registered bone among the shapes of each model, and move it to the prototypes.

    Returns:
        For each model the fit, and image and known voxels on the prototype's grid.
    """
    placed, seen = [], []
    for model, fit in zip(models, fits, strict=True):

        def carry(pose: Pose, device: torch.device = model.device) -> tuple[Tensor, Tensor]:
            return tensors(found.on_prototype(pose, settings), device)

        placed.append(model.fit_among_shapes(*tensors(found.bone, model.device), fit, carry))
        seen.append(carry(placed[-1].pose))
    return placed, seen


def outliers(fits: Sequence[Fit]) -> float:
    """Share of the visible surface that does not lie on the prototype, at least 0.01."""
    return max(0.01, 1 - float(np.mean([fit.inliers for fit in fits])))


def _mirrored(bone: Bone, axis: int) -> Bone:
    """The bone of the other side on the same grid: an axis of (z, y, x) reversed."""
    image, known = np.flip(bone.image, axis + 1), np.flip(bone.known, axis)
    return replace(bone, image=image.copy(), known=known.copy())
