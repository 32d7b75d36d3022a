"""Direct registration (the tibia paper's equation 1): a bone's pose by the gradient of an image similarity.

Gradient descent on seven parameters minimises the D-SSIM of the bone's CT and the prototype's. It serves as a
reference for the package's own registration, by least squares on distances (`registration`).
"""

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Spacing
from kneeformer.shape_models.digest import digest
from kneeformer.shape_models.image_similarity import dissimilarity
from kneeformer.shape_models.locnet import as_pose, matrices
from kneeformer.shape_models.pose import Pose

_found: dict[str, Pose] = {}


def descend(
    prototype: Tensor,
    image: Tensor,
    hidden: Tensor,
    spacing: Spacing,
    start: Pose,
    learning_rate: float,
    steps: int,
) -> Pose:
    """The pose after some steps of AdamW (Loshchilov and Hutter 2019), with a fixed prototype.

    It takes minutes, and all priors of a registration need the same poses, so results are remembered in this
    process.

    Args:
        prototype, image: (z, y, x) CT in [0, 1].
        hidden: (z, y, x) bool, where the bone is not known.
        learning_rate: in radians, half extents of the grid, and log scale.
    """
    asked = digest(f"{spacing} {learning_rate} {steps}", prototype, image, hidden, start.matrix())
    if asked in _found:
        return _found[asked]
    half = [n * s / 2 for n, s in zip(image.shape, spacing, strict=True)]
    units = torch.tensor([1.0, 1.0, 1.0, *half, 1.0], device=image.device)
    before = start.matrix().to(units)
    out_of_sight = hidden[None].float() if hidden.any() else None
    with torch.enable_grad():
        numbers = torch.zeros(7, device=image.device, requires_grad=True)
        optimiser = torch.optim.AdamW([numbers], learning_rate)
        for _ in range(steps):
            optimiser.zero_grad(set_to_none=True)
            transform = _after(numbers * units, before)
            apart = dissimilarity(prototype, image[None], transform[None], spacing, out_of_sight)
            apart.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    _found[asked] = as_pose(_after(numbers.detach() * units, before))
    return _found[asked]


def _after(parameters: Tensor, before: Tensor) -> Tensor:
    """(3, 4): the similarity of seven parameters after another one, (4, 4)."""
    first: Tensor = matrices(parameters[None])[0] @ before
    return first
