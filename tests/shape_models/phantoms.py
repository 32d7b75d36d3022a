"""Parametric tibias as a network sees them: (2, z, y, x) on a grid around the bone's middle."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.phantoms.bone_shape import BoneAnatomy
from kneeformer.shape_models.pose import Pose, rotation_matrix


def anatomy(seed: int) -> BoneAnatomy:
    return BoneAnatomy.draw(np.random.default_rng(seed))


def turned(degrees: float, shift_mm: float, scale: float, seed: int) -> Pose:
    """A similarity with a random axis and direction."""
    generator = torch.Generator().manual_seed(seed)
    axis, way = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    turn = rotation_matrix(axis / axis.norm() * torch.pi * degrees / 180)
    return Pose(turn, way / way.norm() * shift_mm, scale)


@dataclass(frozen=True)
class Frame:
    """A grid, and bones on it."""

    grid: Size
    spacing: Spacing

    @cached_property
    def points(self) -> Tensor:
        """(voxels, 3) mm from the middle."""
        return points_from_middle(self.grid, self.spacing)

    @property
    def everywhere(self) -> Tensor:
        return torch.ones(self.grid, dtype=torch.bool)

    def bone(self, shape: BoneAnatomy, pose: Pose | None = None) -> Tensor:
        """The bone that its pose brings to where the shape itself lies."""
        pose = pose or Pose.identity()
        distance = shape.signed_distance(pose(self.points.double()).numpy()[:, ::-1]) / pose.scale
        return self.image(torch.from_numpy(distance).float())

    def ball(self, radius_mm: float) -> Tensor:
        return self.image(self.points.norm(dim=1) - radius_mm)

    def image(self, distance: Tensor) -> Tensor:
        """CT 1 in the bone, beside its distances, one per voxel."""
        distance = distance.reshape(self.grid)
        return torch.stack([(distance < 0).float(), distance])

    def surface(self, image: Tensor) -> Tensor:
        """(points, 3) mm of the voxels at a bone's surface."""
        return self.points[(image[1].abs() < self.spacing[0] / 2).flatten()]

    def hidden(self, image: Tensor, share: float, seed: int) -> Tensor:
        """(z, y, x) mm to a ball around a point of the surface that hides so much of the bone; 0 within."""
        places = self.surface(image)
        generator = torch.Generator().manual_seed(seed)
        centre = places[torch.randint(len(places), (1,), generator=generator)]
        away = torch.linalg.vector_norm(self.points - centre, dim=1)
        radius = float(away[(image[1] < 0).flatten()].quantile(share))
        return (away - radius).clamp(min=0).reshape(self.grid)


FINE = Frame((64, 48, 64), (2.0, 2.0, 2.0))
COARSE = Frame((32, 24, 32), (4.0, 4.0, 4.0))
