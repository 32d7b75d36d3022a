"""The variational autoencoder of bones (Kingma and Welling 2014), with the weight of a beta-VAE.

The weight is that of the divergence (Higgins et al. 2017).
"""

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.shape_models.convolutional import ConvolutionalAutoencoder
from kneeformer.shape_models.priors import Guess
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.shape_models.settings import PriorSettings

_SAMPLES = 8
_LOG_VARIANCE = (-12.0, 4.0)


class Vae(ConvolutionalAutoencoder):
    """The encoder gives mean and log variance of a Gaussian over codes; training draws from it."""

    tells_deviation = True

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        code = settings.code
        super().__init__(grid, spacing, settings, 2 * code.latent_channels)

    def coded(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = _gaussian(encoded)
        code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        voxels = self.mean[DISTANCE].numel()
        return code, self.code.kl_weight * divergence(mean, log_variance).mean() / voxels

    @torch.no_grad()
    def complete(self, image: Tensor, known: Tensor) -> Guess:
        """The bone of the mean code, with the deviation of eight bones from fixed random codes."""
        mean, log_variance = _gaussian(self.encoded(image[None], known[None]))
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(_SAMPLES, *mean.shape[1:], generator=generator).to(mean.device)
        drawn = self.decoded(mean + (0.5 * log_variance).exp() * noise)
        return Guess(self.decoded(mean)[0], drawn[:, DISTANCE].std(0))


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(batch,) nats: Kullback-Leibler divergence of Gaussian codes (batch, ...) from the standard normal."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


def _gaussian(encoded: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance, float32."""
    mean, log_variance = encoded.float().chunk(2, 1)
    return mean, log_variance.clamp(*_LOG_VARIANCE)
