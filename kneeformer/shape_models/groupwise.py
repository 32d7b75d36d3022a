"""Groupwise registration: the prototype is the mean of the bones, and each bone is registered to it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from kneeformer.networks.compute import side_by_side
from kneeformer.shape_models.least_squares import log_stretch, spread_of
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.registration import DISTANCE, Fit, Registration

_AT_FIRST = 2  # rounds in which bones may still lie far from the prototype
_CLIP_MM = 20.0  # larger distances depend on the ends of the bones


@torch.no_grad()
def fit_prototype(
    network: Registration, bones: list[Tensor], watch: Callable[[int, int], None] = lambda done, of: None
) -> list[Pose]:
    """Learn the prototype of bones (2, z, y, x), and return their poses.

    The tibia paper's groupwise registration (its equation 1) with another optimiser: poses by Gauss-Newton
    steps, then the prototype as the mean of the posed bones, repeatedly. The mean pose is pinned to the
    identity (mean shift and mean log stretch 0, geometric mean of the scales 1); otherwise the prototype
    could drift and shrink. It begins with the median of the bones in their initial positions.
    """
    poses = [Pose.identity() for _ in bones]
    for done in range(network.settings.rounds):
        seen = [network.registered(b, p) for b, p in zip(bones, poses, strict=True)]
        at_first = done < _AT_FIRST
        network.prototype.copy_(_middle(seen, robust=at_first))
        begun, device = list(zip(bones, poses, strict=True)), network.prototype.device
        poses = _pinned(side_by_side(partial(_posed, network, not at_first), begun, device))
        network.spread.copy_(spread_of(poses))
        watch(done + 1, network.settings.rounds)
    network.prototype.copy_(
        _middle([network.registered(b, p) for b, p in zip(bones, poses, strict=True)], robust=False)
    )
    return poses


def _posed(network: Registration, near: bool, bone: tuple[Tensor, Pose]) -> Pose:
    """Register a whole bone (2, z, y, x), starting from its pose."""
    image, start = bone
    known = torch.ones_like(image[DISTANCE], dtype=torch.bool)
    fit: Fit = network(image, known, start, near)
    return fit.pose


def _middle(bones: list[Tensor], robust: bool) -> Tensor:
    stacked = torch.stack(bones)
    stacked[:, DISTANCE].clamp_(-_CLIP_MM, _CLIP_MM)
    return stacked.median(0).values if robust else stacked.mean(0)


def _pinned(poses: list[Pose]) -> list[Pose]:
    shift = torch.stack([p.shift for p in poses]).mean(0)
    scale = float(torch.tensor([p.scale for p in poses], dtype=torch.float64).log().mean().exp())
    stretch = torch.linalg.matrix_exp(-torch.stack([log_stretch(p) for p in poses]).mean(0))
    back = Pose(torch.eye(3, dtype=torch.float64), -stretch @ shift / scale, 1 / scale, stretch)
    return [back.after(pose) for pose in poses]
