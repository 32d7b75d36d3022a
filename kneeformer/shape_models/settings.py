"""Settings of registration and of shape priors, checked, without torch."""

from typing import Annotated, Literal

from pydantic import Field

from kneeformer.config.ranges import Angle, Count, Depth, Millimetres, Rate, Steps, Weight
from kneeformer.config.settings import Settings

BY_BOTH_SIDES = ("pca", "gp")  # priors that can be conditioned on a person's other side
BY_STEPS = ("vae", "vqvae", "vit")  # priors that learn so; their codes are of 8 x 8 x 8 voxels


class LocNetSettings(Settings):
    """The network that guesses a bone's pose, and the poses that it can guess."""

    width: Count = 16
    rotation_limit_degrees: Annotated[Angle, Field(gt=0)] = 60.0
    shift_limit_mm: Millimetres = 60.0
    scale_limit: Annotated[float, Field(gt=1, le=10)] = 1.5


class DescentSettings(Settings):
    """Registration by the gradient of an image similarity, bone by bone: the tibia paper's direct way.

    Attributes:
        learning_rate: of AdamW, in radians, in half extents of the grid, and in logarithms of the scale.
        steps: in each round in which the prototype is estimated; a new bone gets those of all rounds.
    """

    learning_rate: Rate = 1e-2
    steps: Annotated[Steps, Field(ge=1)] = 25


class RegistrationSettings(Settings):
    """Registration of a bone to the prototype: rotation, translation and one scale.

    Attributes:
        affine: the least-squares steps stretch and shear it as well.
        locnet: the network that guesses where to begin; without it and `descent`, the bone's middle is on the
            prototype's.
        descent: how image similarity leads on from there; None does not ask it.
        rounds: of registering all bones and taking their mean, the prototype.
        steps: by Gauss and Newton on distances, from where that ends; 0 leaves it as it is.
        robust_mm: surfaces that lie farther apart hardly count; more where the usual error is above 1.5 mm.
        correlation_mm: correlation length of two bones' differences.
        band_mm: voxels so near to the bone's surface count.
    """

    affine: bool = False
    locnet: LocNetSettings | None = None
    descent: DescentSettings | None = None
    rounds: Count = 6
    steps: Steps = 25
    robust_mm: Millimetres = 2.5
    correlation_mm: Millimetres = 14.0
    band_mm: Millimetres = 6.0


class CodeSettings(Settings):
    """Of an autoencoder and its code.

    Attributes:
        width: channels at half resolution; twice and four times as many at a quarter and an eighth.
        latent_channels: numbers in the code of each 8 x 8 x 8 voxels.
        kl_weight: of the divergence of a `vae`, in nats a voxel of the volume.
        codes: in the codebook of a `vqvae`.
        entropy_weight: of the nats that the codes' use in a `vqvae` lacks of being even; 0 leaves it out.
        depth: transformer blocks of a `vit`, whose tokens are six times `width` wide.
    """

    width: Count = 16
    latent_channels: Count = 8
    kl_weight: Weight = 1e-2
    codes: Count = 128
    entropy_weight: Weight = 0.0
    depth: Depth = 4


class PriorSettings(Settings):
    """Prior of healthy bones on the prototype, and its use to predict hidden voxels from visible ones.

    Attributes:
        components: modes of the PCA, fewer than bones, be it the prior or the shapes among which the pose
            is found for another prior; of `nearest` the bones.
        code: of an autoencoder.
        correlation_mm: correlation length of the prior's errors.
        locality_mm: within which the covariance of a `gp`'s bones is trusted, half of it farther as well.
        residual: whether errors of the prior at visible voxels are carried on into the hidden ones, and
            visible CT tells a PCA of hidden CT.
    """

    kind: Literal["prototype", "nearest", "pca", "pca_zero", "vae", "vqvae", "vit", "gp", "mirrored"] = "pca"
    components: Count = 32
    code: CodeSettings = Field(default_factory=CodeSettings)
    correlation_mm: Millimetres = 14.0
    locality_mm: Millimetres = 60.0
    residual: bool = True
