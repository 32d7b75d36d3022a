"""The plan: every setting of a dataset's configurations, frozen and checked. Readable without torch.

All axes are array axes (z, y, x); spacings are millimetres.
"""

import json
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme, LabelValues, Side

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
PerAxis = tuple[Positive, Positive, Positive]
Voxels = tuple[Count, Count, Count]
Axis = Annotated[int, Field(ge=0, le=2)]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSettings(Settings):
    """What the plan keeps of dataset.json, so that a trained model needs no raw data."""

    name: str
    channel_names: tuple[str, ...] = Field(min_length=1)
    labels: LabelValues
    regions_class_order: list[int] | None = None
    file_ending: str

    @cached_property
    def scheme(self) -> LabelScheme:
        """What the label values mean, and how many outputs a network needs for them."""
        return LabelScheme.from_json(self.labels, self.regions_class_order)


class Normalisation(Settings):
    """Of one channel: z-score of each image, CT (clip, then z-score of the dataset), [0, 1], or as it is."""

    kind: Literal["zscore", "ct", "unit", "none"]
    lower: float = 0.0
    upper: float = 1.0
    mean: float = 0.0
    deviation: Positive = 1.0


class GridSettings(Settings):
    """From files to arrays of one spacing. Configurations with the same `folder` share their stored cases."""

    folder: str
    spacing: PerAxis


class PreprocessingSettings(GridSettings):
    """Of images, as they are or cropped to what is not empty.

    With a `fixed_shape` every case is brought to so many voxels, whatever its own spacing: `spacing` is then
    that of the median case, and positions in mm are exact for that case alone.
    """

    median_shape: Voxels
    fixed_shape: Voxels | None = None
    thick_axis: Axis | None = None
    interpolation: Literal["cubic", "linear"] = "cubic"
    crop_to_nonzero: bool = True
    normalisation: tuple[Normalisation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _a_fixed_shape_is_of_the_whole_file(self) -> "PreprocessingSettings":
        if self.fixed_shape is not None and self.crop_to_nonzero:
            raise ValueError(
                "fixed_shape is of the whole file: a box cut from it would be stretched differently in each "
                "case; set crop_to_nonzero to false"
            )
        return self


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
    window_hu: tuple[float, float] = (-200.0, 1500.0)


class LocNetSettings(Settings):
    """The network that guesses a bone's pose, and the poses that it can guess."""

    width: Count = 16
    rotation_limit_degrees: Positive = 60.0
    shift_limit_mm: Positive = 60.0
    scale_limit: Annotated[float, Field(gt=1)] = 1.5


class RegistrationSettings(Settings):
    """How a bone finds its place on the prototype: rotation, translation and one scale.

    Attributes:
        locnet: what guesses where to begin; None begins with the bone's middle on the prototype's.
        rounds: of registering all bones and taking their mean, by which the prototype is learnt.
        steps: by Gauss and Newton, from where it begins; 0 leaves the guess as it is.
        robust_mm: surfaces that lie farther apart hardly count.
        correlation_mm: how far apart two bones' differences know nothing of each other.
        band_mm: voxels so near to the bone's surface count.
    """

    locnet: LocNetSettings | None = None
    rounds: Count = 6
    steps: Annotated[int, Field(ge=0)] = 25
    robust_mm: Positive = 2.5
    correlation_mm: Positive = 14.0
    band_mm: Positive = 6.0


class BoneLearningSettings(Settings):
    """How bones are shown to a network that learns by steps: turned, moved, and partly hidden.

    Attributes:
        rotation_degrees: about each axis, at most.
        shift_mm: along each axis, at most.
        scale: range of factors.
        hidden_chance: of a part being hidden; 0 learns from whole bones alone.
    """

    rotation_degrees: Annotated[float, Field(ge=0)] = 15.0
    shift_mm: Annotated[float, Field(ge=0)] = 5.0
    scale: tuple[Positive, Positive] = (0.9, 1.1)
    hidden_chance: Share = 0.8


class CodeSettings(Settings):
    """Of an autoencoder and its code.

    Attributes:
        width: channels at half resolution; twice and four times as many at a quarter and an eighth.
        latent_channels: numbers in the code of each 8 x 8 x 8 voxels.
        kl_weight: of the divergence of a `vae`, in nats a voxel of the volume.
        codes: in the codebook of a `vqvae`.
        entropy_weight: of the nats that the codes' use in a `vqvae` lacks of being even; 0 asks nothing.
    """

    width: Count = 16
    latent_channels: Count = 8
    kl_weight: Annotated[float, Field(ge=0)] = 1e-2
    codes: Count = 128
    entropy_weight: Annotated[float, Field(ge=0)] = 0.0


class PriorSettings(Settings):
    """What healthy bones look like on the prototype, and how what is visible tells of what is hidden.

    Attributes:
        components: modes of a PCA, fewer than bones; bones that are kept to find the nearest.
        code: of an autoencoder.
        correlation_mm: how far apart two errors of the prior know nothing of each other.
        residual: whether errors of the prior at visible voxels are carried on into the hidden ones.
    """

    kind: Literal["prototype", "nearest", "pca", "vae", "vqvae"] = "pca"
    components: Count = 32
    code: CodeSettings = Field(default_factory=CodeSettings)
    correlation_mm: Positive = 14.0
    residual: bool = True


class StemStage(Settings):
    """One stage of the convolutional stem: a strided convolution into `channels`, then a residual block."""

    channels: Count
    stride: Voxels
    kernel: Voxels

    @field_validator("kernel")
    @classmethod
    def _kernel_is_odd(cls, kernel: Voxels) -> Voxels:
        if any(side % 2 == 0 for side in kernel):
            odd = [side + 1 - side % 2 for side in kernel]
            raise ValueError(
                f"a kernel of {list(kernel)} has no middle voxel: sides must be odd, as {odd} is"
            )
        return kernel


class NetworkSettings(Settings):
    """A vision transformer behind a convolutional stem, with a CNN decoder or the baseline's linear one."""

    kind: Literal["vit"] = "vit"
    stem: tuple[StemStage, ...] = Field(min_length=1)
    width: Count
    depth: Count
    heads: Count
    mlp_ratio: Positive = 4.0
    drop_path: Share = 0.1
    rotary_periods_mm: tuple[Positive, Positive] = (4.0, 400.0)
    decoder: Literal["cnn", "linear"] = "cnn"

    @property
    def token(self) -> tuple[int, int, int]:
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
    """What pre-training hides, and what is asked of it: see kneeformer.networks.mae."""

    kind: Literal["token", "block", "slab"] = "token"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    target: Literal["normalised", "intensity"] = "intensity"
    filler_width: Count = 96
    filler_depth: Count = 2

    @field_validator("filler_width")
    @classmethod
    def _width_holds_three_rotary_axes(cls, width: int) -> int:
        if width % 6:
            raise ValueError(f"{width} is not a multiple of 6; {width + 6 - width % 6} is")
        return width


class FineTuningSettings(Settings):
    """How pre-trained weights go on learning: first not at all, then with a rate of their own."""

    learning_rate: Positive
    frozen_steps: Annotated[int, Field(ge=0)] = 100
    warmup_steps: Annotated[int, Field(ge=0)] = 100


class TrainingSettings(Settings):
    """The loop: what a step sees, and for how long."""

    crop: Voxels
    batch_size: Count
    epochs: Annotated[int, Field(ge=0)]
    steps_per_epoch: Count
    validation_crops: Count = 16
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    gradient_clip: Positive = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    loss: Literal["dice_ce", "mse", "ssim_mse", "dssim", "points"] = "dice_ce"
    foreground_share: Share = 0.5
    fine_tuning: FineTuningSettings | None = None


class AugmentationSettings(Settings):
    """Random changes of a training crop; angles in degrees about each axis, `*_chance` per crop."""

    mirror_axes: tuple[Axis, ...] = ()
    rotation_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    affine_chance: Share = 0.3
    noise_chance: Share = 0.1
    blur_chance: Share = 0.1
    brightness_chance: Share = 0.15
    contrast_chance: Share = 0.15
    gamma_chance: Share = 0.2
    low_resolution_chance: Share = 0.1
    cutmix_chance: Share = 0.0
    position_jitter_mm: Annotated[float, Field(ge=0)] = 10.0


class InferenceSettings(Settings):
    """Whole volumes up to `whole_volume_tokens`, overlapping windows of the training crop above."""

    whole_volume_tokens: Annotated[int, Field(ge=0)]
    window_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    mirror_axes: tuple[Axis, ...] = ()


class Cost(Settings):
    """What one training step takes: by formula, or measured on a device."""

    device: str
    memory_mb: float
    seconds_per_step: float


class Evidence(Settings):
    """Why the plan is as it is. Read by people, not by the program."""

    crop_share_of_volume: Share
    tokens_per_crop: Count
    parameters: int | None = None
    estimate: Cost | None = None
    measured: Cost | None = None


class Configuration(Settings):
    """One trainable model of a plan: what every kind has."""

    task: str
    inherits_from: str | None = None
    previous_stage: str | None = None
    preprocessing: GridSettings
    training: TrainingSettings
    evidence: Evidence | None = None

    @property
    def by_steps(self) -> bool:
        """Whether it learns step by step; else in closed form, from all cases at once."""
        return True


class CropConfiguration(Configuration):
    """A vision transformer that learns from crops of images."""

    preprocessing: PreprocessingSettings
    network: NetworkSettings
    augmentation: AugmentationSettings
    inference: InferenceSettings
    masking: MaskingSettings | None = None

    @model_validator(mode="after")
    def _crop_is_whole_tokens(self) -> "CropConfiguration":
        token, crop = self.network.token, self.training.crop
        if any(c % t for c, t in zip(crop, token, strict=True)):
            nearest = [max(t, round(c / t) * t) for c, t in zip(crop, token, strict=True)]
            raise ValueError(f"training.crop {list(crop)} is not whole tokens of {list(token)}; {nearest} is")
        return self


class BoneConfiguration(Configuration):
    """A model of whole bones on one grid: their registration, and the prior of their shapes.

    The prior is None where the configuration is a registration for others to come after.
    """

    preprocessing: BoneGridSettings
    registration: RegistrationSettings
    prior: PriorSettings | None = None
    learning: BoneLearningSettings | None = None

    @property
    def by_steps(self) -> bool:
        return self.learning is not None


CONFIGURATION_KINDS = {"crop": CropConfiguration, "bone": BoneConfiguration}


def _kind(configuration: Any) -> str:
    """Which settings a configuration has, from its task."""
    if isinstance(configuration, Configuration):
        return "bone" if isinstance(configuration, BoneConfiguration) else "crop"
    return "bone" if configuration.get("task") in ("registration", "completion") else "crop"


AnyConfiguration = Annotated[
    Annotated[CropConfiguration, Tag("crop")] | Annotated[BoneConfiguration, Tag("bone")],
    Discriminator(_kind),
]


class Plan(Settings):
    """The settings of a dataset and of all configurations planned for it."""

    version: Literal[1] = 1
    plans_name: str = "kfPlans"
    dataset: DatasetSettings
    configurations: dict[str, AnyConfiguration] = Field(min_length=1)

    @model_validator(mode="after")
    def _channels_are_normalised(self) -> "Plan":
        for name, configuration in self.configurations.items():
            if isinstance(configuration, BoneConfiguration):
                continue
            planned, given = len(configuration.preprocessing.normalisation), len(self.dataset.channel_names)
            if planned != given:
                raise ValueError(
                    f"{name}.preprocessing.normalisation has {planned} entries for {given} channels"
                )
        return self

    @model_validator(mode="after")
    def _previous_stages_exist(self) -> "Plan":
        for name, configuration in self.configurations.items():
            stage = configuration.previous_stage
            if stage is not None and (stage == name or stage not in self.configurations):
                others = ", ".join(n for n in self.configurations if n != name)
                raise ValueError(f"{name}.previous_stage {stage!r} is none of {others or '(no others)'}")
            if name in self._stages_before(name):
                raise ValueError(f"{name}.previous_stage {stage!r} comes after {name} itself")
        return self

    def _stages_before(self, name: str) -> list[str]:
        """Names of the stages before a configuration, nearest first; a circle is gone round once."""
        found: list[str] = []
        stage = self.configurations[name].previous_stage
        while stage is not None and stage in self.configurations and stage not in found:
            found.append(stage)
            stage = self.configurations[stage].previous_stage
        return found

    def configuration(self, name: str) -> CropConfiguration | BoneConfiguration:
        """Raises KneeformerError: the plan has none of that name."""
        if name not in self.configurations:
            raise KneeformerError(
                f"{self.plans_name} has no configuration {name!r}; it has {', '.join(self.configurations)}"
            )
        return self.configurations[name]

    def to_text(self) -> str:
        """JSON; a configuration that inherits is written as what differs from its parent."""
        content = self.model_dump(mode="json")
        whole = content["configurations"]
        content["configurations"] = {
            name: {"inherits_from": c["inherits_from"], **_difference(c, whole[c["inherits_from"]])}
            if c["inherits_from"]
            else c
            for name, c in whole.items()
        }
        return json.dumps(content, indent=2) + "\n"

    def without_evidence(self) -> "Plan":
        """What is decided, without what was measured on the way."""
        bare = {n: c.model_copy(update={"evidence": None}) for n, c in self.configurations.items()}
        return self.model_copy(update={"configurations": bare})

    def with_only(self, name: str) -> "Plan":
        """The plan of one trained model: its configuration alone, nothing inherited."""
        alone = self.configuration(name).model_copy(update={"inherits_from": None, "previous_stage": None})
        return self.model_copy(update={"configurations": {name: alone}})


def _difference(own: dict[str, Any], parent: dict[str, Any]) -> dict[str, Any]:
    return {
        k: _difference(v, parent[k]) if isinstance(v, dict) and isinstance(parent.get(k), dict) else v
        for k, v in own.items()
        if v != parent.get(k)
    }
