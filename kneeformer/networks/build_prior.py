"""The prior that a plan names."""

from collections.abc import Callable

from kneeformer.networks.gaussian_process import GaussianProcess
from kneeformer.networks.pose import Size, Spacing
from kneeformer.networks.priors import MeanShape, NearestBone, OtherSide, Pca, ShapePrior, ZeroFilledPca
from kneeformer.networks.vae import Vae
from kneeformer.networks.vit_prior import VitPrior
from kneeformer.networks.vqvae import VqVae
from kneeformer.plan import PriorSettings

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
    """Not fitted yet."""
    return PRIORS[settings.kind](grid, spacing, settings)
