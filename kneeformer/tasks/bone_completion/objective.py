"""Objective of trained priors: predict the whole bone from its visible part."""

from collections.abc import Iterable
from statistics import mean

import torch
from torch import Tensor, nn

from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Validation
from kneeformer.shape_models.autoencoders import Autoencoder
from kneeformer.shape_models.registration import DISTANCE

_NEAR_MM = 2.0  # of the true surface, where a completed bone is scored
_GOOD_MM = 1.0  # error with a score of one half


class PriorObjective:
    """The tibia paper's equation 5, and its equation 3 where nothing is hidden: see `Autoencoder.loss`."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return _prior(network).loss(batch["image"], batch["known"])

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        """Score the mean error in mm at the hidden surface, or at all of it where nothing was hidden."""
        losses, errors = [], []
        for batch in batches:
            losses.append(float(self.loss(network, batch)))
            for image, known in zip(batch["image"], batch["known"], strict=True):
                errors.append(_error_mm(_prior(network), image, known))
        return Validation(
            mean(losses),
            {"surface": mean(_GOOD_MM / (_GOOD_MM + error) for error in errors)},
            {"surface error mm": mean(errors)},
        )


def _error_mm(prior: Autoencoder, image: Tensor, known: Tensor) -> float:
    scored = (image[DISTANCE].abs() < _NEAR_MM) & (~known if not known.all() else torch.ones_like(known))
    if not scored.any():
        return 0.0
    completed = prior.complete(image, known).image
    return float((completed - image)[DISTANCE, scored].abs().mean())


def _prior(network: nn.Module) -> Autoencoder:
    found = getattr(network, "prior", None)
    assert isinstance(found, Autoencoder)
    return found
