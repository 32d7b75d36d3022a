"""How a spatial transformer learns to register bones: by likeness to the prototype, or by known poses."""

from collections.abc import Iterable
from statistics import mean

import torch
from torch import Tensor, nn

from kneeformer.networks.locnet import matrices, moved
from kneeformer.networks.pose import points_of, sample
from kneeformer.networks.registration import CT, Registration
from kneeformer.training.loop import Batch, Validation
from kneeformer.training.ssim import ssim

_WINDOW = 11
_PINNED = 1e-4  # weight of the squared mean shift, mm2, and of its like for turns and scale
_GOOD_MM = 5.0  # a pose error that scores one half


class LikenessLesson:
    """The tibia paper's equation 2: D-SSIM of the bone, seen in the prototype's frame, and the prototype.

    D-SSIM is (1 - SSIM) / 2 of the CT channel. Network and prototype learn together; the batch's mean pose is
    held at the identity. A bone that is pushed out of view is unlike the prototype: nothing is gained by it.
    """

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        registration = _registration(network)
        parameters = _parameters(registration, batch)
        transforms = matrices(parameters)
        seen = torch.stack(
            [
                _seen(image[CT : CT + 1], transform, registration)
                for image, transform in zip(batch["image"], transforms, strict=True)
            ]
        )
        prototype = registration.prototype[CT][None, None].expand_as(seen)
        apart = (1 - ssim(seen, prototype, _WINDOW)) / 2
        units = parameters.new_tensor([50.0, 50, 50, 1, 1, 1, 50])
        loss: Tensor = apart + _PINNED * (parameters.mean(0) * units).square().sum()
        return loss

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        return _validation(self, network, batches)


class PlacesLesson:
    """The mask-robust registration (the paper's equation 4): mean distance in mm between where points of the
    bone are brought and where they belong; the prototype is left as it is."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        placed = moved(matrices(_parameters(_registration(network), batch)), batch["points"])
        apart: Tensor = (placed - batch["places"]).norm(dim=-1).mean()
        return apart

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        return _validation(self, network, batches)


def _validation(
    lesson: "LikenessLesson | PlacesLesson", network: nn.Module, batches: Iterable[Batch]
) -> Validation:
    losses, errors = [], []
    for batch in batches:
        losses.append(float(lesson.loss(network, batch)))
        placed = moved(matrices(_parameters(_registration(network), batch)), batch["points"])
        errors += (placed - batch["places"]).norm(dim=-1).mean(1).tolist()
    good = mean(_GOOD_MM / (_GOOD_MM + error) for error in errors)
    return Validation(mean(losses), {"pose": good}, {"pose error mm": mean(errors)})


def _parameters(registration: Registration, batch: Batch) -> Tensor:
    assert registration.locnet is not None
    parameters: Tensor = registration.locnet(batch["image"], batch["known"])
    return parameters


def _registration(network: nn.Module) -> Registration:
    found = getattr(network, "registration", None)
    assert isinstance(found, Registration)
    return found


def _seen(image: Tensor, transform: Tensor, registration: Registration) -> Tensor:
    """(1, z, y, x) of a bone as (3, 4) brings it to the prototype, differentiable in both."""
    grid, spacing = registration.grid, registration.spacing
    back = torch.linalg.inv(transform[:, :3])
    points = (points_of(grid, spacing, image.device) - transform[:, 3]) @ back.T
    return sample(image, points, spacing).reshape(1, *grid)
