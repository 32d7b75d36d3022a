"""Construction of the prior that a plan names."""

from collections.abc import Callable

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.shape_models.gaussian_process import GaussianProcess
from kneeformer.shape_models.priors import MeanShape, NearestBone, OtherSide, Pca, ShapePrior, ZeroFilledPca
from kneeformer.shape_models.settings import PriorSettings
from kneeformer.shape_models.vae import Vae
from kneeformer.shape_models.vit_prior import VitPrior
from kneeformer.shape_models.vqvae import VqVae

PRIORS: dict[str, Callable[[Size, Spacing, PriorSettings], ShapePrior]] = {
    "prototype": MeanShape,
    "nearest": NearestBone,
    "pca": Pca,
    "pca_zero": ZeroFilledPca,
    "gp": GaussianProcess,
    "vae": Vae,
    "vqvae": VqVae,
    "vit": VitPrior,
    "mirrored": OtherSide,
}


def build_prior(grid: Size, spacing: Spacing, settings: PriorSettings) -> ShapePrior:
    """Build the prior of the settings, not fitted yet."""
    return PRIORS[settings.kind](grid, spacing, settings)
