"""Settings that every plan is made of: data, crops and training, frozen and checked, without torch.

All axes are array axes (z, y, x); spacings are millimetres.
"""

import math
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from kneeformer.config.ranges import (
    Angle,
    Axis,
    Count,
    Depth,
    KernelSide,
    Millimetres,
    Name,
    PatientAxis,
    Positive,
    Rate,
    Share,
    Steps,
    Stride,
    Tokens,
    Voxels,
    Weight,
    Zoom,
    ascending,
    each_once,
)
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.orientation import checked_orientation
from kneeformer.labels import LabelScheme, LabelValues

PatientAxes = Annotated[tuple[PatientAxis, ...], each_once]
Zooms = Annotated[tuple[Zoom, Zoom], ascending]
Shares = Annotated[tuple[Share, ...], Field(min_length=1)]
Orientation = Annotated[str, AfterValidator(checked_orientation)]


def by(values: tuple[float, ...]) -> str:
    """Sizes as text, such as 36 x 320 x 320."""
    return " x ".join(f"{v:.4g}" for v in values)


class Settings(BaseModel):
    """Base of all settings: frozen; refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetSettings(Settings):
    """The part of dataset.json that the plan keeps, so that a trained model needs no raw data."""

    name: Name
    channel_names: tuple[str, ...] = Field(min_length=1)
    labels: LabelValues
    regions_class_order: list[int] | None = None
    file_ending: Annotated[str, Field(pattern=r"^(\.[A-Za-z0-9]+)+$")]

    @cached_property
    def scheme(self) -> LabelScheme:
        """The label scheme: the meaning of label values, and the number of network outputs."""
        return LabelScheme.from_json(self.labels, self.regions_class_order)

    @model_validator(mode="after")
    def _labels_make_a_scheme(self) -> "DatasetSettings":
        try:
            declared = self.scheme.declared()
        except KneeformerError as fault:
            raise ValueError(str(fault)) from fault
        if empty := [name for name, values in self.labels.items() if values == []]:
            raise ValueError(f"labels: {', '.join(empty)} names no value")
        if negative := sorted(v for v in declared if v < 0):
            raise ValueError(f"labels must not be negative: {negative}")
        return self


class Normalisation(Settings):
    """Normalisation of a channel: z-score per image, CT (clip, then that of the dataset), [0, 1] or none."""

    kind: Literal["zscore", "ct", "unit", "none"]
    lower: float = 0.0
    upper: float = 1.0
    mean: float = 0.0
    deviation: Positive = 1.0

    @model_validator(mode="after")
    def _something_is_left_between(self) -> "Normalisation":
        if self.lower >= self.upper:
            raise ValueError(f"lower {self.lower:g} must be below upper {self.upper:g}")
        return self


class GridSettings(Settings):
    """Preparation of files as arrays; configurations with the same `folder` share their prepared cases."""

    folder: Name
    spacing: tuple[Millimetres, Millimetres, Millimetres]

    @property
    def usual_orientation(self) -> str:
        """Orientation that is assumed of a scan whose direction is not given."""
        return "SPL"


class PreprocessingSettings(GridSettings):
    """Preparation of images, whole or cropped to what is not empty.

    A scan is first turned into one of `orientations` (see kneeformer.geometry.orientation): the one for the
    plane of its slices, or the first.

    Slices along a `thick_axis` keep their thickness if it is near that of `spacing`. With a `fixed_shape`,
    every case is resampled to that shape, whatever its spacing.
    """

    orientations: tuple[Orientation, ...] = Field(min_length=1)
    median_shape: Voxels
    fixed_shape: Voxels | None = None
    thick_axis: Axis | None = None
    interpolation: Literal["cubic", "linear"] = "cubic"
    crop_to_nonzero: bool = True
    normalisation: tuple[Normalisation, ...] = Field(min_length=1)

    @property
    def usual_orientation(self) -> str:
        return self.orientations[0]

    @model_validator(mode="after")
    def _a_fixed_shape_is_of_the_whole_file(self) -> "PreprocessingSettings":
        if self.fixed_shape is not None and self.crop_to_nonzero:
            raise ValueError(
                "fixed_shape is of the whole file: a box cut from it would be stretched differently in each "
                "case; set crop_to_nonzero to false"
            )
        return self


class StemStage(Settings):
    """One stage of the convolutional stem: a strided convolution into `channels`, then a residual block."""

    channels: Count
    stride: tuple[Stride, Stride, Stride]
    kernel: tuple[KernelSide, KernelSide, KernelSide]

    @field_validator("kernel")
    @classmethod
    def _kernel_is_odd(cls, kernel: Size) -> Size:
        if any(side % 2 == 0 for side in kernel):
            odd = [side + 1 - side % 2 for side in kernel]
            raise ValueError(
                f"a kernel of {list(kernel)} has no middle voxel: sides must be odd, as {odd} is"
            )
        return kernel


class NetworkSettings(Settings):
    """A vision transformer behind a convolutional stem, with a CNN decoder or the baseline's linear one."""

    kind: Literal["vit"] = "vit"
    stem: tuple[StemStage, ...] = Field(min_length=1, max_length=16)
    width: Count
    depth: Depth
    heads: Count
    mlp_ratio: Annotated[float, Field(ge=0.1, le=64)] = 4.0
    drop_path: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    rotary_periods_mm: Annotated[tuple[Millimetres, Millimetres], ascending] = (4.0, 400.0)
    decoder: Literal["cnn", "linear"] = "cnn"

    @property
    def token(self) -> Size:
        """Voxels a token covers along each axis: the product of the stem's strides."""
        size = [1, 1, 1]
        for stage in self.stem:
            size = [a * b for a, b in zip(size, stage.stride, strict=True)]
        return (size[0], size[1], size[2])

    @model_validator(mode="after")
    def _heads_fit(self) -> "NetworkSettings":
        if self.width % self.heads or (self.width // self.heads) % 6:
            fitting = [h for h in range(1, 33) if self.width % h == 0 and self.width // h % 6 == 0]
            raise ValueError(
                f"width {self.width} over heads {self.heads} must be a multiple of 6 (three rotary axes, in "
                f"pairs); heads that fit: {fitting}"
            )
        if self.stem[-1].channels != self.width:
            raise ValueError(f"the last stem stage must have `width` = {self.width} channels")
        return self


class MaskingSettings(Settings):
    """Masking and target of pre-training: see kneeformer.networks.masked_autoencoder."""

    kind: Literal["token", "block", "slab"] = "token"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    target: Literal["normalised", "intensity"] = "intensity"
    filler_width: Count = 96
    filler_depth: Depth = 2

    @field_validator("filler_width")
    @classmethod
    def _width_holds_three_rotary_axes(cls, width: int) -> int:
        if width % 6:
            raise ValueError(f"{width} is not a multiple of 6; {width + 6 - width % 6} is")
        return width


class FineTuningSettings(Settings):
    """Fine-tuning of pre-trained weights: first frozen, then trained with their own learning rate."""

    learning_rate: Rate
    frozen_steps: Steps = 100
    warmup_steps: Steps = 100


class TeacherSettings(Settings):
    """Semi-supervised training: the averaged network labels images without labels.

    It labels up to `images` images at each of the `rounds`, which are shares of the training; from the first
    one on, half of each batch comes from these images. Voxels below the `confidence` are ignored.
    """

    rounds: Shares = (0.5, 0.75)
    images: Count = 100
    confidence: Share = 0.8

    def decision(self) -> str:
        """Text for the table of a plan."""
        rounds = " and ".join(f"{share:.0%}" for share in self.rounds)
        return f"labels up to {self.images} images after {rounds} of the training"

    @field_validator("rounds")
    @classmethod
    def _rounds_ascend(cls, rounds: tuple[float, ...]) -> tuple[float, ...]:
        if list(rounds) != sorted(set(rounds)):
            raise ValueError(f"{list(rounds)}: give each part of the training once, the smaller first")
        return rounds


class TrainingSettings(Settings):
    """Settings of the training loop."""

    crop: Voxels
    batch_size: Count
    epochs: Steps
    steps_per_epoch: Annotated[Steps, Field(ge=1)]
    validation_crops: Count = 16
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: Rate
    weight_decay: Weight = 0.05
    warmup_steps: Steps = 50
    gradient_clip: Positive = 1.0
    averaged_share: Share = 0.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    loss: Literal["dice_ce", "mse", "ssim_mse", "l1_ssim", "dssim", "points"] = "dice_ce"
    foreground_share: Share = 0.5
    fine_tuning: FineTuningSettings | None = None

    @property
    def batch_voxels(self) -> int:
        return self.batch_size * math.prod(self.crop)


class AugmentationSettings(Settings):
    """Random changes of a training crop; angles in degrees about each axis, `*_probability` per crop."""

    backend: Literal["kneeformer", "batchgenerators"] = "kneeformer"
    mirror_axes: PatientAxes = ()
    rotation_degrees: tuple[Angle, Angle, Angle] = (0.0, 0.0, 0.0)
    scale: Zooms = (1.0, 1.0)
    affine_probability: Share = 0.3
    noise_probability: Share = 0.1
    blur_probability: Share = 0.1
    brightness_probability: Share = 0.15
    contrast_probability: Share = 0.15
    gamma_probability: Share = 0.2
    low_resolution_probability: Share = 0.1
    cutmix_probability: Share = 0.0
    position_jitter_mm: Annotated[float, Field(ge=0, le=1000)] = 10.0


class InferenceSettings(Settings):
    """Prediction of whole volumes up to `whole_volume_tokens`, and by overlapping windows above."""

    whole_volume_tokens: Tokens
    window_overlap: Annotated[float, Field(ge=0, le=0.95)] = 0.5
    mirror_axes: PatientAxes = ()


class Cost(Settings):
    """Cost of one training step: by formula, or measured on a device."""

    device: str
    memory_mb: float
    seconds_per_step: float


Limit = Literal["volume", "memory", "time", "tokens"]  # that keeps a crop from seeing more


class Evidence(Settings):
    """Reasons for the plan's decisions. Read by people, not by the program.

    Attributes:
        limit: why a crop does not see more.
        cases: number of cases that the size of the network is chosen for.
    """

    crop_share_of_volume: Share
    tokens_per_crop: Count
    limit: Limit | None = None
    cases: int | None = None
    parameters: int | None = None
    estimate: Cost | None = None
    measured: Cost | None = None
