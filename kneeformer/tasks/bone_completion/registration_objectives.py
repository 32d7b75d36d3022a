"""Objectives of spatial transformers: image similarity, or known poses."""

from collections.abc import Iterable
from statistics import mean

import torch
from torch import Tensor, nn

from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Validation
from kneeformer.shape_models.image_similarity import dissimilarity, seen_on
from kneeformer.shape_models.locnet import matrices, moved
from kneeformer.shape_models.registration import CT, DISTANCE, Registration

_PINNED = 1e-4  # weight of the squared mean shift in mm2, and of that of rotations and scale
_ARM_MM = 50.0  # lever arm that turns rotations and scales into mm
_FOLLOWED = 0.02  # weight of a batch in the prototype's distances
_CLIP_MM = 20.0
_GOOD_MM = 5.0  # pose error with a score of one half


class SimilarityObjective:
    """The tibia paper's equation 2: D-SSIM of the bone, seen in the prototype's frame, and the prototype.

    D-SSIM is (1 - SSIM) / 2 of the CT channel. Network and prototype learn together; the mean pose of a batch
    is held near the identity. The prototype's distances are not in the loss: they follow those of the
    registered bones.
    """

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self._parts(network, batch)[0]

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        """Scored by 1 - D-SSIM: the targets of a batch are poses on the prototype as it was before."""
        losses, apart = zip(*(self._parts(network, batch) for batch in batches), strict=True)
        return Validation(mean(map(float, losses)), {"similarity": 1 - mean(map(float, apart))})

    def _parts(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the D-SSIM in it."""
        registration = _registration(network)
        parameters = _parameters(registration, batch)
        transforms = matrices(parameters)
        prototype, spacing = registration.prototype, registration.spacing
        apart = dissimilarity(prototype[CT], batch["image"][:, CT], transforms, spacing)
        if network.training:
            _follow(registration, batch["image"][:, DISTANCE], transforms.detach())
        units = parameters.new_tensor([_ARM_MM] * 3 + [1.0] * 3 + [_ARM_MM])
        return apart + _PINNED * (parameters.mean(0) * units).square().sum(), apart


class PoseObjective:
    """The mask-robust registration (the paper's equation 4) on a fixed prototype.

    The loss is the mean distance in mm between the registered points of a bone and their true positions.
    """

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return _errors_mm(network, batch).mean()

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        errors = [_errors_mm(network, batch).mean(1) for batch in batches]
        each = torch.cat(errors).tolist()
        good = mean(_GOOD_MM / (_GOOD_MM + error) for error in each)
        loss = mean(float(of_batch.mean()) for of_batch in errors)
        return Validation(loss, {"pose": good}, {"pose error mm": mean(each)})


def _errors_mm(network: nn.Module, batch: Batch) -> Tensor:
    """(batch, points): distances of registered points to their true positions."""
    registered = moved(matrices(_parameters(_registration(network), batch)), batch["points"])
    apart: Tensor = (registered - batch["targets"]).norm(dim=-1)
    return apart


def _parameters(registration: Registration, batch: Batch) -> Tensor:
    assert registration.locnet is not None
    parameters: Tensor = registration.locnet(batch["image"], batch["known"])
    return parameters


def _registration(network: nn.Module) -> Registration:
    found = getattr(network, "registration", None)
    assert isinstance(found, Registration)
    return found


@torch.no_grad()
def _follow(registration: Registration, distances: Tensor, transforms: Tensor) -> None:
    """Move the prototype's distances towards those of a batch of bones (batch, z, y, x), registered."""
    scales = torch.linalg.det(transforms[:, :, :3]) ** (1 / 3)
    there = seen_on(registration.prototype, distances[:, None], transforms, registration.spacing)
    mean_mm = (there[:, 0] * scales[:, None, None, None]).clamp(-_CLIP_MM, _CLIP_MM).mean(0)
    registration.prototype.data[DISTANCE].lerp_(mean_mm, _FOLLOWED)
