"""A bone on the plan's grid, in the orientation of the prototype.

The axes of the grid are the patient's. A bone in a very different orientation from the training bones would
leave the grid, and registration would fail. So its orientation is first found on a coarse grid that holds the
bone in any orientation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kneeformer.errors import KneeformerError
from kneeformer.shape_models.least_squares import Family
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.shape_models.rotations import angle_between
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.isolation import LEAST_OUTSIDE, Bone, Outline
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

_USUAL = math.radians(30)  # registration corrects smaller rotations
_ROTATED = math.radians(45)  # calls for a warning: of 24 tibiae within 26 degrees, one measured 38
_VOXELS = 48  # along each side of the coarse grid


@dataclass(frozen=True)
class Found:
    """An isolated bone.

    Attributes:
        bone: on the plan's grid.
        rotation_degrees: angle from the orientation of the training bones; 0 if it lies along the patient's
            axes, as they do.
        misfit: of the chosen orientation, among the shapes.
        doubts: reasons why the orientation may be wrong.
    """

    outline: Outline
    bone: Bone
    rotation_degrees: float
    misfit: float
    doubts: tuple[str, ...]

    def on_prototype(self, pose: Pose, settings: BoneGridSettings) -> Bone:
        """The bone on the prototype's grid, moved there by a pose, with distances in mm of the prototype.

        It is resampled only once, from the scan. Resampling `bone` again would make the completion depend on
        the bone's orientation in the scan, by up to 0.2 mm.
        """
        carried = self.outline.on(settings.grid, settings.spacing, self._to_patient(pose))
        carried.image[DISTANCE] *= pose.scale
        return carried

    def outside_prototype(self, poses: Sequence[Pose], settings: BoneGridSettings) -> list[str]:
        """A warning where a part of the bone to keep lies outside the prototype's grid in any pose."""
        share, mm = max(
            self.outline.outside(settings.grid, settings.spacing, self._to_patient(pose)) for pose in poses
        )
        if share < LEAST_OUTSIDE:
            return []
        return [
            f"{share:.1%} of the bone to keep, up to {mm:.0f} mm, lie outside the grid of the training bones "
            f"and are not used: keep this bone alone, and of it what training bones have"
        ]

    def _to_patient(self, pose: Pose) -> np.ndarray:
        """(4, 4) float64: mm (z, y, x) of the prototype's frame to patient coordinates (x, y, z)."""
        return np.asarray(self.bone.to_patient @ pose.inverse().matrix().numpy())


def oriented_bone(
    outline: Outline,
    registration: Registration,
    family: Family | None,
    settings: BoneGridSettings,
    side: Side | None = None,
    called: str = "the bone to keep",
) -> Found:
    """Resample a bone onto the plan's grid, rotated where its orientation is unusual.

    Args:
        family: shapes to compare orientations that fit the prototype about equally well.
        side: of the body, known or tried.
        called: name of the bone in errors.

    Raises:
        KneeformerError: nothing of the bone's surface is visible.
    """
    usual_frame = outline.frame(settings, side)
    edge = math.dist((0, 0, 0), [n * mm for n, mm in zip(settings.grid, settings.spacing, strict=True)])
    spacing = (edge / _VOXELS,) * 3
    coarse = outline.on((_VOXELS,) * 3, spacing, usual_frame)
    ways = registration.orientations(*tensors(coarse, registration.prototype.device), spacing, family)
    turns = [way.pose.rotation for way in ways]
    away = [angle_between(turn, torch.eye(3, dtype=torch.float64)) for turn in turns]
    usual = [n for n, angle in enumerate(away) if angle < _USUAL]
    chosen = usual[0] if usual else 0
    doubts = tuple(
        f"fits about as well rotated by {math.degrees(angle_between(turn, turns[chosen])):.0f} degrees: "
        f"check its orientation"
        for n, turn in enumerate(turns)
        if n != chosen
    )
    to_patient = usual_frame.copy()
    if not usual:
        to_patient[:3, :3] = usual_frame[:3, :3] @ turns[chosen].T.numpy()
    bone = outline.on(settings.grid, settings.spacing, outline.fitted(to_patient, settings))
    if not bone.visible().any():
        raise KneeformerError(
            f"no surface of {called} is visible: it fills the scan, ends only at the region and at the "
            "scan's border, or is far smaller than a bone; mark more bone, and see that spacings are in mm"
        )
    turned = 0.0 if usual else math.degrees(away[chosen])
    return Found(outline, bone, turned, ways[chosen].misfit, doubts)


def rotation_degrees(registration: Registration, image: Tensor) -> float:
    """Angle between a prepared whole bone (2, z, y, x) and the prototype; 0 below 45 degrees."""
    whole = torch.ones_like(image[DISTANCE], dtype=torch.bool)
    ways = registration.orientations(image, whole, registration.spacing, None)
    upright = torch.eye(3, dtype=torch.float64)
    away = [angle_between(way.pose.rotation, upright) for way in ways]
    return 0.0 if min(away) < _ROTATED else math.degrees(away[0])


def tensors(bone: Bone, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image and known of a bone."""
    return torch.from_numpy(bone.image).to(device), torch.from_numpy(bone.known).to(device)
