"""Settings of registration and of shape priors, checked, without torch."""

from typing import Annotated, Literal

from pydantic import Field

from kneeformer.config.ranges import Angle, Count, Depth, Millimetres, Rate, Steps, Weight
from kneeformer.config.settings import Settings

BY_BOTH_SIDES = ("pca", "gp")  # priors that can be conditioned on a person's other side
BY_STEPS = ("vae", "vqvae", "vit")  # priors trained by steps, with codes of 8 x 8 x 8 voxels


class LocNetSettings(Settings):
    """The network that guesses a bone's pose, and the poses that it can guess."""

    width: Count = 16
    rotation_limit_degrees: Annotated[Angle, Field(gt=0)] = 60.0
    shift_limit_mm: Millimetres = 60.0
    scale_limit: Annotated[float, Field(gt=1, le=10)] = 1.5


class DescentSettings(Settings):
    """Registration by the gradient of an image similarity, bone by bone: the tibia paper's direct way.

    Attributes:
        learning_rate: of AdamW, in radians, half extents of the grid, and log scale.
        steps: in each round of estimating the prototype; a new bone gets those of all rounds.
    """

    learning_rate: Rate = 1e-2
    steps: Annotated[Steps, Field(ge=1)] = 25


class RegistrationSettings(Settings):
    """Registration of a bone to the prototype: rotation, translation and one scale.

    Attributes:
        affine: whether least squares also stretch and shear.
        locnet: network that gives the initial pose; without it, the bone's middle is put on the prototype's.
        descent: gradient descent on image similarity from there; None skips it.
        rounds: of registering all bones and averaging them as the prototype.
        steps: Gauss-Newton steps on distances that follow; 0 skips them.
        robust_mm: surfaces farther apart hardly count; it grows if the usual error is above 1.5 mm.
        correlation_mm: correlation length of the difference of two bones.
        band_mm: distance from the bone's surface within which voxels count.
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
    """An autoencoder and its code.

    Attributes:
        width: channels at half resolution; twice and four times as many at a quarter and an eighth.
        latent_channels: numbers in the code of each 8 x 8 x 8 voxels.
        kl_weight: weight of the divergence of a `vae`, in nats per voxel of the volume.
        codes: number of codes in the codebook of a `vqvae`.
        entropy_weight: weight of the nats that separate the use of codes in a `vqvae` from uniform use.
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
        components: modes of the PCA, fewer than bones, which is the prior or the family of shapes for poses;
            for `nearest` the number of bones.
        code: of an autoencoder.
        correlation_mm: correlation length of the prior's errors.
        locality_mm: distance within which the covariance of a `gp` is fully trusted, and half of it beyond.
        residual: whether errors at visible voxels correct hidden ones, and visible CT predicts hidden CT.
    """

    kind: Literal["prototype", "nearest", "pca", "pca_zero", "vae", "vqvae", "vit", "gp", "mirrored"] = "pca"
    components: Count = 32
    code: CodeSettings = Field(default_factory=CodeSettings)
    correlation_mm: Millimetres = 14.0
    locality_mm: Millimetres = 60.0
    residual: bool = True
