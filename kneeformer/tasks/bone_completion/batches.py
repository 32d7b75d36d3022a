"""Prepared bones as tensors, and training batches of them: rotated, shifted, scaled and partly hidden."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kneeformer.data.storage import open_case
from kneeformer.engine.batch import Batch
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.pose import Pose, rotation_matrix, warp
from kneeformer.shape_models.registration import DISTANCE, Fit
from kneeformer.tasks.bone_completion.fractures import draw_hidden, known_beside
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneLearningSettings

Register = Callable[[Tensor, Tensor], Fit]  # a bone (2, z, y, x) and where it is known (z, y, x)
POINTS = 512  # of each bone, to compare poses


def stored_bone(case: Path, device: torch.device | None = None) -> Tensor:
    """(2, z, y, x) float32 of a prepared bone: CT in [0, 1] and signed distance in mm."""
    return torch.from_numpy(open_case(case.parent, case.name).image[:]).to(device)


@dataclass(frozen=True)
class Posed:
    """A bone (2, z, y, x) and its pose on the prototype."""

    image: Tensor
    pose: Pose


@torch.no_grad()
def pose_of(register: Register, image: Tensor, device: torch.device) -> Pose:
    """Return the pose of a prepared whole bone on the prototype."""
    whole = torch.ones(image.shape[1:], dtype=torch.bool)
    return register(image.to(device), whole.to(device)).pose


class BoneBatches(Dataset[Batch]):
    """Random bones by number: "image" (b, 2, z, y, x), "known" (b, z, y, x) bool, "points" (b, n, 3) in mm
    inside each bone as it lies, and "targets" (b, n, 3), their positions on the prototype.

    Args:
        on_prototype: whether bones are moved from their place on the prototype; otherwise they are moved from
            their orientation in the scan, with the visible part in the middle of the grid.
    """

    def __init__(
        self,
        bones: list[Posed],
        settings: BoneLearningSettings,
        spacing: Spacing,
        batch_size: int,
        seed: int,
        length: int,
        on_prototype: bool = False,
    ) -> None:
        self.bones, self.settings, self.spacing = bones, settings, spacing
        self.batch_size, self.seed, self.length, self.on_prototype = batch_size, seed, length, on_prototype

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> Batch:
        if step >= self.length:
            raise IndexError(step)
        rng = np.random.default_rng([self.seed, step])
        drawn = [self._draw(rng) for _ in range(self.batch_size)]
        return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}

    def _draw(self, rng: np.random.Generator) -> Batch:
        bone = self.bones[rng.integers(len(self.bones))]
        distance = bone.image[DISTANCE]
        hidden = torch.zeros_like(distance)
        if rng.random() < self.settings.hidden_probability:
            hidden = torch.from_numpy(draw_hidden(distance.numpy(), self.spacing, rng)).float()
        move = draw_pose(rng, self.settings)
        if self.on_prototype:
            move = move.after(bone.pose)
        else:
            middle = _middle(distance, hidden, self.spacing)
            move = move.after(Pose(Pose.identity().rotation, -middle, 1.0))
        z, y, x = distance.shape
        moved = warp(torch.cat([bone.image, hidden[None]]), move, (z, y, x), self.spacing)
        image = moved[:2]
        image[DISTANCE] *= move.scale
        known = known_beside(moved[2].numpy() > 0.5, image[DISTANCE].numpy(), self.spacing)
        points = _inside(distance, self.spacing, rng)
        return {
            "image": image,
            "known": torch.from_numpy(known),
            "points": move(points),
            "targets": bone.pose(points),
        }


def bone_batches(
    bones: list[Posed],
    configuration: BoneConfiguration,
    seed: int,
    training: bool,
    on_prototype: bool = False,
) -> BoneBatches:
    """Batches for a configuration: endless ones for training, else the few of validation.

    Raises:
        KneeformerError: the configuration has no settings of learning by steps.
    """
    if configuration.learning is None:
        raise KneeformerError("training by steps needs `learning` in the plan: {} takes the defaults")
    settings, spacing = configuration.training, configuration.preprocessing.spacing
    length = 2**40 if training else -(-settings.validation_crops // settings.batch_size)
    return BoneBatches(
        bones, configuration.learning, spacing, settings.batch_size, seed, length, on_prototype
    )


def draw_pose(rng: np.random.Generator, settings: BoneLearningSettings) -> Pose:
    """A random rotation, shift and scale."""
    turn = np.radians(rng.uniform(-settings.rotation_degrees, settings.rotation_degrees, 3))
    shift = rng.uniform(-settings.shift_mm, settings.shift_mm, 3)
    return Pose(
        rotation_matrix(torch.from_numpy(turn)), torch.from_numpy(shift), rng.uniform(*settings.scale)
    )


def _middle(distance: Tensor, hidden: Tensor, spacing: Spacing) -> Tensor:
    """(3,) float64 mm: centroid of the visible bone, where isolation centres it."""
    z, y, x = distance.shape
    bone = (distance < 0).flatten()
    visible = bone & (hidden.flatten() < 0.5)
    return points_from_middle((z, y, x), spacing)[visible if visible.any() else bone].double().mean(0)


def _inside(distance: Tensor, spacing: Spacing, rng: np.random.Generator) -> Tensor:
    """(POINTS, 3) mm: random voxels of the bone."""
    z, y, x = distance.shape
    grid: Size = (z, y, x)
    voxels = torch.nonzero((distance < 0).flatten())[:, 0]
    chosen = torch.from_numpy(rng.integers(0, len(voxels), POINTS))
    return points_from_middle(grid, spacing)[voxels[chosen]]
