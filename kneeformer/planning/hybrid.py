"""The vision transformer for a dataset and a machine: what segmentation and its pre-training share."""

import math

from kneeformer.config import (
    CropConfiguration,
    DatasetSettings,
    Evidence,
    FineTuningSettings,
    InferenceSettings,
    NetworkSettings,
    PreprocessingSettings,
    TrainingSettings,
)
from kneeformer.geometry.aliases import Size
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint


def hybrid_transformer(
    fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget, finest_mm: float = 0.0
) -> CropConfiguration:
    """The configuration `3d_vit`: segmentation with the CNN decoder, on voxels no finer than `finest_mm`."""
    spacing = rules.target_spacing(fingerprint, finest_mm)
    shape = rules.median_shape(fingerprint, spacing)
    token = rules.token_size(spacing, budget)
    width, depth, heads = rules.encoder_size(len(fingerprint.cases), budget)
    crop = rules.crop_size(shape, spacing, token, budget.tokens)
    augmentation = rules.augmentation(fingerprint, spacing)
    return CropConfiguration(
        task="segmentation",
        previous_stage="3d_mae" if rules.worth_pretraining(fingerprint) else None,
        preprocessing=PreprocessingSettings(
            folder="3d_vit",
            spacing=spacing,
            orientations=fingerprint.orientations,
            median_shape=shape,
            thick_axis=rules.thick_axis(spacing),
            normalisation=rules.normalisation(fingerprint, dataset.channel_names),
        ),
        network=NetworkSettings(
            stem=rules.stem_stages(spacing, token, width, 16 if budget.is_cpu else 32),
            width=width,
            depth=depth,
            heads=heads,
        ),
        training=_training(crop, budget),
        augmentation=augmentation,
        inference=InferenceSettings(
            whole_volume_tokens=8192 if budget.is_cpu else 16384, mirror_axes=augmentation.mirror_axes
        ),
        evidence=Evidence(
            crop_share_of_volume=rules.crop_share(crop, shape),
            tokens_per_crop=math.prod(c // t for c, t in zip(crop, token, strict=True)),
        ),
    )


def _training(crop: Size, budget: Budget) -> TrainingSettings:
    batch = rules.batch_size(crop, budget)
    if budget.is_cpu:
        return TrainingSettings(
            crop=crop,
            batch_size=batch,
            epochs=60,
            steps_per_epoch=50,
            learning_rate=1e-3,
            warmup_steps=50,
            fine_tuning=FineTuningSettings(learning_rate=1e-3, frozen_steps=50, warmup_steps=50),
        )
    return TrainingSettings(
        crop=crop,
        batch_size=batch,
        epochs=400,
        steps_per_epoch=250,
        validation_crops=64,
        learning_rate=3e-4,
        warmup_steps=2000,
        fine_tuning=FineTuningSettings(learning_rate=3e-4, frozen_steps=1000, warmup_steps=2000),
    )
