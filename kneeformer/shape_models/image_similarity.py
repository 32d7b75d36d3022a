"""Image dissimilarity of a posed bone's CT and the prototype, which image registration minimises."""

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.networks.ssim import ssim
from kneeformer.shape_models.pose import sample

WINDOW = 11  # voxels


def seen_on(prototype: Tensor, volumes: Tensor, transforms: Tensor, spacing: Spacing) -> Tensor:
    """Volumes resampled to the prototype by their poses, differentiable in both.

    Args:
        prototype: (..., z, y, x), which gives the grid.
        volumes: (batch, channels, z, y, x); transforms: (batch, 3, 4) from bone to prototype, mm.

    Returns:
        (batch, channels, z, y, x).
    """
    z, y, x = prototype.shape[-3:]
    grid: Size = (z, y, x)
    positions = points_from_middle(grid, spacing, volumes.device)
    back = torch.linalg.inv(transforms[:, :, :3])
    points = (positions - transforms[:, None, :, 3]) @ back.mT
    seen = [sample(volume, at, spacing) for volume, at in zip(volumes, points, strict=True)]
    return torch.stack(seen).reshape(*volumes.shape[:2], *grid)


def dissimilarity(
    prototype: Tensor, images: Tensor, transforms: Tensor, spacing: Spacing, hidden: Tensor | None = None
) -> Tensor:
    """(): mean D-SSIM = (1 - SSIM) / 2 between the prototype and bones resampled to it by their poses.

    A bone that is pushed out of view differs from the prototype, so this gains nothing. Hidden parts move
    with the bone and are cut from both, so that they do not count.

    Args:
        prototype: (z, y, x) CT in [0, 1].
        images: (batch, z, y, x) CT of bones in [0, 1].
        transforms: (batch, 3, 4) from bone to prototype, mm.
        hidden: (batch, z, y, x), 1 where a bone is hidden.
    """
    volumes = images[:, None] if hidden is None else torch.stack([images, hidden], 1)
    seen = seen_on(prototype, volumes, transforms, spacing)
    shown, there = seen[:, :1], prototype[None, None].expand(len(images), 1, -1, -1, -1)
    if hidden is not None:
        visible = 1 - seen[:, 1:]
        shown, there = shown * visible, there * visible
    return (1 - ssim(shown, there, WINDOW)) / 2
