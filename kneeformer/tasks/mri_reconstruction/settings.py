"""Settings of reconstructions: their k-space, sampling, network or solver. Needs no torch."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kneeformer.config import Configuration, GridSettings, MaskingSettings, NetworkSettings
from kneeformer.config.ranges import Axis, Count, Share, Weight, ascending
from kneeformer.config.settings import Settings, by
from kneeformer.kspace.sampling import MASK_KINDS

Acceleration = Annotated[float, Field(ge=1, le=64)]
MaskKind = Annotated[str, Field(pattern=f"^({'|'.join(MASK_KINDS)})$")]


class KSpaceSettings(GridSettings):
    """Prepared k-space: an image along the readout, samples along the phase-encoding axes of the scan.

    A 3D scan is cut across its readout, so slices and rows are exchanged for networks. Nothing is resampled:
    `spacing` is that of the median case along slices, rows and columns as prepared.
    """

    phase_encoding_axes: tuple[Axis, ...] = (2,)

    @field_validator("phase_encoding_axes")
    @classmethod
    def _readout_is_not_encoded(cls, axes: tuple[int, ...]) -> tuple[int, ...]:
        if axes not in ((2,), (0, 2)):
            raise ValueError(f"{list(axes)} is neither [2] (columns) nor [0, 2] (slices and columns)")
        return axes

    @property
    def encoded(self) -> tuple[int, ...]:
        """Axes of prepared samples that are k-space, counted from the end: columns, or rows and columns."""
        return (-1,) if self.phase_encoding_axes == (2,) else (-2, -1)


class SamplingSettings(Settings):
    """The masks that a network learns from, a new one for each crop, and those it is validated with."""

    kind: MaskKind = "random"
    accelerations: Annotated[tuple[Acceleration, Acceleration], ascending] = (4.0, 8.0)
    validation_acceleration: Acceleration = 4.0


class SelfSupervisionSettings(Settings):
    """Learning from undersampled files: the network sees a part of each, and predicts the withheld rest.

    Each crop draws the share of measured columns that is `withheld`. `equivariance` weighs the loss of a
    second reconstruction: of the first one, moved and measured again with another mask.
    """

    withheld: Annotated[tuple[Share, Share], ascending] = (0.3, 0.5)
    equivariance: Weight = 0.0


class CascadeSettings(Settings):
    """Cascades of a denoiser and data consistency.

    The first denoiser is the vision transformer of `network`; the others are light U-Nets with `channels`
    channels at half the resolution, and `scales` scales.
    """

    count: Annotated[int, Field(ge=1, le=32)] = 4
    channels: Count = 48
    scales: Annotated[int, Field(ge=1, le=6)] = 3
    final_consistency: Literal["soft", "hard"] = "hard"


class SolverSettings(Settings):
    """A reconstruction without training: zero-filled, or compressed sensing to convergence.

    `weight` is that of the regularisation, for images scaled as for networks; training chooses it among
    `candidates` by the mean `tuned_for` of its cases.
    """

    kind: Literal["zero_filled", "tv", "wavelet"]
    weight: Weight = 0.0
    candidates: tuple[Weight, ...] = ()
    tuned_for: Literal["PSNR", "SSIM"] = "PSNR"
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 100


class ReconstructionConfiguration(Configuration):
    """A network that learns from undersampled k-space or, before that, from masked images; or a solver."""

    preprocessing: KSpaceSettings
    sampling: SamplingSettings
    self_supervision: SelfSupervisionSettings | None = None
    network: NetworkSettings | None = None
    cascades: CascadeSettings | None = None
    masking: MaskingSettings | None = None
    solver: SolverSettings | None = None

    @model_validator(mode="after")
    def _is_a_network_or_a_solver(self) -> "ReconstructionConfiguration":
        given = [one for one in (self.cascades, self.masking, self.solver) if one is not None]
        if len(given) != 1 or (self.network is None) != (self.solver is not None):
            raise ValueError("has `network` and `cascades`, `network` and `masking`, or `solver`")
        if (self.sampling.kind == "poisson_disc") != (len(self.preprocessing.phase_encoding_axes) == 2):
            raise ValueError(
                'sampling.kind "poisson_disc" is for phase_encoding_axes [0, 2], all others for [2]'
            )
        return self

    @model_validator(mode="after")
    def _columns_are_split(self) -> "ReconstructionConfiguration":
        if self.self_supervision is not None and self.preprocessing.phase_encoding_axes != (2,):
            raise ValueError("self_supervision splits columns: it is for phase_encoding_axes [2] only")
        return self

    @model_validator(mode="after")
    def _loss_is_of_images(self) -> "ReconstructionConfiguration":
        if self.network is not None and self.training.loss not in ("mse", "ssim_mse", "l1_ssim"):
            raise ValueError(f"training.loss {self.training.loss!r} is not one of mse, ssim_mse, l1_ssim")
        if self.masking is not None and self.training.loss == "l1_ssim":
            raise ValueError("training.loss of masked images is mse or ssim_mse")
        return self

    @property
    def has_references(self) -> bool:
        return self.self_supervision is None

    @property
    def by_steps(self) -> bool:
        return self.solver is None

    @property
    def predicts_untrained(self) -> bool:
        return self.solver is not None

    def compatibility_key(self) -> tuple[object, ...]:
        return self.task, self.preprocessing, self.network, self.cascades, self.masking, self.solver

    def decisions(self) -> list[tuple[str, str]]:
        if self.network is None or self.cascades is None:
            return []
        network, training = self.network, self.training
        learns = "from fully sampled files" if self.has_references else "by what is withheld of each file"
        return [
            ("supervision", learns),
            ("cascades", f"{self.cascades.count}, each a denoiser and data consistency"),
            ("crop", f"{by(training.crop)} voxels: all columns"),
            ("tokens", f"{by(network.token)} voxels"),
            ("encoder", f"width {network.width}, depth {network.depth}"),
            ("batch", f"{training.batch_size}, learning rate {training.learning_rate:g}"),
        ]
