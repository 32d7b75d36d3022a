"""One trainable model of a plan: what every configuration has, and what those have that learn from crops."""

from pydantic import model_validator

from kneeformer.config.settings import (
    AugmentationSettings,
    DatasetSettings,
    Evidence,
    GridSettings,
    InferenceSettings,
    Limit,
    MaskingSettings,
    NetworkSettings,
    PreprocessingSettings,
    Settings,
    TeacherSettings,
    TrainingSettings,
    by,
)

_BECAUSE: dict[Limit | None, str] = {
    None: "",
    "volume": "",
    "memory": ", limited by memory",
    "time": ", limited by training time",
    "tokens": ", limited by the number of tokens",
}


class Configuration(Settings):
    """One trainable model of a plan: what every kind has."""

    task: str
    inherits_from: str | None = None
    previous_stage: str | None = None
    preprocessing: GridSettings
    training: TrainingSettings
    evidence: Evidence | None = None

    @model_validator(mode="after")
    def _steps_are_made(self) -> "Configuration":
        if self.by_steps and self.training.epochs == 0:
            raise ValueError("training.epochs must be at least 1 for a training by steps (it is 0)")
        return self

    @property
    def by_steps(self) -> bool:
        """True where it is trained by steps, False where it is fitted in closed form."""
        return True

    @property
    def predicts_untrained(self) -> bool:
        """True where it can predict without training."""
        return False

    @property
    def has_references(self) -> bool:
        """False where the dataset has no references to score predictions against."""
        return True

    @property
    def requires_mask(self) -> bool:
        """True where a prediction needs a mask of the bone to keep and the region to complete."""
        return False

    @property
    def takes_other_side(self) -> bool:
        """True where a prediction may be given the same person's other side."""
        return self.needs_other_side

    @property
    def needs_other_side(self) -> bool:
        """True where the prediction of a case needs the same person's other side."""
        return False

    @property
    def learns_without_labels(self) -> bool:
        """True where a training with labels also uses images without labels."""
        return False

    def compatibility_key(self) -> tuple[object, ...]:
        """Settings that folds must share to be averaged, and a training to resume from a checkpoint."""
        return self.task, self.preprocessing

    def decisions(self) -> list[tuple[str, str]]:
        """Rows of a table: name, decision and reason."""
        return []

    def fault_for(self, dataset: DatasetSettings) -> str | None:
        """Return the key of a setting that does not suit a dataset, with the reason; None if all do."""
        return None

    def without_mirroring(self) -> "Configuration":
        """A copy that predicts without mirrored copies of the input."""
        return self


class CropConfiguration(Configuration):
    """A vision transformer that learns from crops of images."""

    preprocessing: PreprocessingSettings
    network: NetworkSettings
    augmentation: AugmentationSettings
    inference: InferenceSettings
    masking: MaskingSettings | None = None
    teacher: TeacherSettings | None = None

    @model_validator(mode="after")
    def _a_teacher_is_an_average(self) -> "CropConfiguration":
        if self.teacher is not None and not self.training.averaged_share:
            raise ValueError(
                "the teacher is the average of the weights: training.averaged_share must not be 0"
            )
        return self

    @property
    def learns_without_labels(self) -> bool:
        return self.teacher is not None

    def compatibility_key(self) -> tuple[object, ...]:
        return self.task, self.preprocessing, self.network

    def decisions(self) -> list[tuple[str, str]]:
        grid, network, training = self.preprocessing, self.network, self.training
        token_mm = tuple(round(t * mm, 1) for t, mm in zip(network.token, grid.spacing, strict=True))
        crop = f"{by(training.crop)} of {by(grid.median_shape)} voxels"
        encoder = f"width {network.width}, depth {network.depth}"
        if self.evidence is not None:
            crop += f", {self.evidence.crop_share_of_volume:.0%} of the volume{_BECAUSE[self.evidence.limit]}"
            encoder += "" if self.evidence.cases is None else f"; chosen for {self.evidence.cases} cases"
        thick = "" if grid.thick_axis is None else "; thick slices, not resampled to thinner ones"
        return [
            ("spacing", f"{by(grid.spacing)} mm{thick}"),
            ("crop", crop),
            ("tokens", f"{by(network.token)} voxels, {by(token_mm)} mm"),
            ("encoder", encoder),
            ("batch", f"{training.batch_size}, learning rate {training.learning_rate:g}"),
            *(() if self.teacher is None else [("teacher", self.teacher.decision())]),
        ]

    def fault_for(self, dataset: DatasetSettings) -> str | None:
        planned, given = len(self.preprocessing.normalisation), len(dataset.channel_names)
        return (
            None
            if planned == given
            else f"preprocessing.normalisation has {planned} entries for {given} channels"
        )

    def without_mirroring(self) -> "Configuration":
        inference = self.inference.model_copy(update={"mirror_axes": ()})
        return self.model_copy(update={"inference": inference})

    @model_validator(mode="after")
    def _crop_is_whole_tokens(self) -> "CropConfiguration":
        token, crop = self.network.token, self.training.crop
        if any(c % t for c, t in zip(crop, token, strict=True)):
            nearest = [max(t, round(c / t) * t) for c, t in zip(crop, token, strict=True)]
            raise ValueError(f"training.crop {list(crop)} is not whole tokens of {list(token)}; {nearest} is")
        if self.masking is not None and crop == token:
            raise ValueError(f"training.crop {list(crop)} is one token: masking has none to leave visible")
        return self

    @model_validator(mode="after")
    def _loss_is_of_voxels(self) -> "CropConfiguration":
        if self.training.loss in ("l1_ssim", "dssim", "points"):
            other = "reconstruction" if self.training.loss == "l1_ssim" else "registration"
            raise ValueError(f"training.loss {self.training.loss!r} is for {other}, not for {self.task}")
        return self
