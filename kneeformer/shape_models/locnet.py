"""The localisation network of a spatial transformer (Jaderberg et al. 2015): from a bone to its pose."""

import math

import torch
from torch import Tensor, nn

from kneeformer.geometry.aliases import Size
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.settings import LocNetSettings

CLIP_MM = 20.0


class LocNet(nn.Module):
    """Strided convolutions, then two linear layers, which know the places of features.

    The output is seven numbers in [-1, 1] times their limits: a rotation vector, a shift, and the log scale.
    The last layer begins at zero, so the first output is the identity.
    """

    limits: Tensor

    def __init__(self, grid: Size, settings: LocNetSettings) -> None:
        super().__init__()
        widths = [settings.width * factor for factor in (1, 2, 4, 4)]
        layers: list[nn.Module] = []
        before = 3
        for width in widths:
            layers += [nn.Conv3d(before, width, 3, 2, 1), nn.InstanceNorm3d(width, affine=True), nn.GELU()]
            before = width
        self.features = nn.Sequential(*layers)
        cells = math.prod(-(-n // 2 ** len(widths)) for n in grid)
        self.answer = nn.Sequential(nn.Linear(cells * before, 128), nn.GELU(), nn.Linear(128, 7))
        last = self.answer[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        turn = math.radians(settings.rotation_limit_degrees)
        limits = [turn] * 3 + [settings.shift_limit_mm] * 3 + [math.log(settings.scale_limit)]
        self.register_buffer("limits", torch.tensor(limits), persistent=False)

    def forward(self, images: Tensor, known: Tensor) -> Tensor:
        """Shapes: (batch, 2, z, y, x), (batch, z, y, x) bool -> (batch, 7); unknown voxels are not read."""
        ct, distance = images.unbind(1)
        shown = torch.stack([ct, distance.clamp(-CLIP_MM, CLIP_MM) / CLIP_MM], 1)
        seen = known[:, None].to(shown.dtype)
        shown = torch.cat([torch.where(known[:, None], shown, 0), seen], 1)
        answer: Tensor = self.answer(self.features(shown).flatten(1))
        return answer.float().tanh() * self.limits


def matrices(parameters: Tensor) -> Tensor:
    """(batch, 7) rotation vector, shift in mm, log scale -> (batch, 3, 4) float32, differentiable."""
    a, b, c = parameters[:, :3].unbind(1)
    zero = torch.zeros_like(a)
    skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], 1).reshape(-1, 3, 3)
    turn = torch.linalg.matrix_exp(skew)
    return torch.cat([turn * parameters[:, 6].exp()[:, None, None], parameters[:, 3:6, None]], 2)


def moved(transforms: Tensor, points: Tensor) -> Tensor:
    """(batch, 3, 4) applied to (batch, points, 3) mm."""
    return points @ transforms[:, :, :3].mT + transforms[:, None, :, 3]


def as_pose(transform: Tensor) -> Pose:
    """A (3, 4) similarity as a pose."""
    found = Pose.of(transform.detach()[:, :3], transform.detach()[:, 3])
    return Pose(found.rotation, found.shift, found.scale)  # float32 stretches it a little
