"""Settings of bones: their grid, how they are registered, and what is known of their shapes."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kneeformer.plan.ranges import (
    Angle,
    Count,
    Depth,
    Hounsfield,
    Millimetres,
    Rate,
    Share,
    Steps,
    Voxels,
    Weight,
)
from kneeformer.plan.settings import Configuration, GridSettings, Settings, Zooms
from kneeformer.sides import Side

BY_STEPS = ("vae", "vqvae", "vit")  # priors that learn so; their codes are of 8 x 8 x 8 voxels


class BoneGridSettings(GridSettings):
    """Of bones isolated by their masks, each around its own middle, on one grid.

    Attributes:
        grid: voxels along (z, y, x), upwards, backwards and to the patient's left where it is not turned.
        side: every bone of the other side is mirrored into this one; None mirrors nothing.
        straightened: the grid is turned with each bone, its nearest axis along the bone's longest.
        window_hu: what becomes 0 and 1.
    """

    grid: Voxels
    side: Side | None = None
    straightened: bool = False
    window_hu: tuple[Hounsfield, Hounsfield] = (-200.0, 1500.0)

    @field_validator("window_hu")
    @classmethod
    def _window_is_open(cls, window: tuple[float, float]) -> tuple[float, float]:
        if window[0] >= window[1]:
            raise ValueError(f"{list(window)}: the first, which becomes 0, must be below the second")
        return window


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
        steps: in each round in which the prototype is learnt; a new bone gets those of all rounds.
    """

    learning_rate: Rate = 1e-2
    steps: Annotated[Steps, Field(ge=1)] = 25


class RegistrationSettings(Settings):
    """How a bone finds its place on the prototype: rotation, translation and one scale.

    Attributes:
        affine: the least-squares steps stretch and shear it as well.
        locnet: the network that guesses where to begin; without it and `descent`, the bone's middle is on the
            prototype's.
        descent: how image similarity leads on from there; None does not ask it.
        rounds: of registering all bones and taking their mean, by which the prototype is learnt.
        steps: by Gauss and Newton on distances, from where that ends; 0 leaves it as it is.
        robust_mm: surfaces that lie farther apart hardly count; more where the usual error is above 1.5 mm.
        correlation_mm: how far apart two bones' differences know nothing of each other.
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


class BoneLearningSettings(Settings):
    """How bones are shown to a network that learns by steps: turned, moved, and partly hidden.

    Attributes:
        rotation_degrees: about each axis, at most.
        shift_mm: along each axis, at most.
        scale: range of factors.
        hidden_chance: of a part being hidden; 0 learns from whole bones alone.
    """

    rotation_degrees: Angle = 15.0
    shift_mm: Annotated[float, Field(ge=0, le=1000)] = 5.0
    scale: Zooms = (0.9, 1.1)
    hidden_chance: Share = 0.8


class CodeSettings(Settings):
    """Of an autoencoder and its code.

    Attributes:
        width: channels at half resolution; twice and four times as many at a quarter and an eighth.
        latent_channels: numbers in the code of each 8 x 8 x 8 voxels.
        kl_weight: of the divergence of a `vae`, in nats a voxel of the volume.
        codes: in the codebook of a `vqvae`.
        entropy_weight: of the nats that the codes' use in a `vqvae` lacks of being even; 0 asks nothing.
        depth: transformer blocks of a `vit`, whose tokens are six times `width` wide.
    """

    width: Count = 16
    latent_channels: Count = 8
    kl_weight: Weight = 1e-2
    codes: Count = 128
    entropy_weight: Weight = 0.0
    depth: Depth = 4


class PriorSettings(Settings):
    """What healthy bones look like on the prototype, and how what is visible tells of what is hidden.

    Attributes:
        components: modes of the PCA, fewer than bones, be it the prior or what finds the place for another;
            bones that are kept to find the nearest.
        code: of an autoencoder.
        correlation_mm: how far apart two errors of the prior know nothing of each other.
        locality_mm: within which likeness of a `gp`'s bones is trusted, half of it farther as well.
        residual: whether errors of the prior at visible voxels are carried on into the hidden ones.
    """

    kind: Literal["prototype", "nearest", "pca", "pca_zero", "vae", "vqvae", "vit", "gp", "mirrored"] = "pca"
    components: Count = 32
    code: CodeSettings = Field(default_factory=CodeSettings)
    correlation_mm: Millimetres = 14.0
    locality_mm: Millimetres = 60.0
    residual: bool = True


class BoneConfiguration(Configuration):
    """A model of whole bones on one grid: their registration, and the prior of their shapes.

    The prior is None where the configuration is a registration for others to come after.
    """

    preprocessing: BoneGridSettings
    registration: RegistrationSettings
    prior: PriorSettings | None = None
    learning: BoneLearningSettings | None = None

    @model_validator(mode="after")
    def _learns_as_its_prior_does(self) -> "BoneConfiguration":
        if self.prior is None:
            return self
        kind, grid = self.prior.kind, self.preprocessing.grid
        if kind in BY_STEPS and self.learning is None:
            raise ValueError(
                f"prior.kind {kind!r} learns by steps and needs `learning`: {{}} takes the defaults"
            )
        if kind not in BY_STEPS and self.learning is not None:
            raise ValueError(f"prior.kind {kind!r} learns in closed form: `learning` must be null")
        if kind in BY_STEPS and any(side % 8 for side in grid):
            nearest = [8 * max(1, round(side / 8)) for side in grid]
            raise ValueError(
                f"preprocessing.grid {list(grid)} is not multiples of 8, as {kind!r} needs; {nearest} is"
            )
        return self

    @property
    def by_steps(self) -> bool:
        return self.learning is not None

    @property
    def needs_other_side(self) -> bool:
        return self.prior is not None and self.prior.kind == "mirrored"
