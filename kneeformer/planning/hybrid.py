"""The vision transformer for a dataset and a machine: what segmentation and its pre-training share."""

from kneeformer.config import (
    CropConfiguration,
    DatasetSettings,
    Evidence,
    FineTuningSettings,
    InferenceSettings,
    PreprocessingSettings,
    TrainingSettings,
)
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.spending import Spent, spend


def hybrid_transformer(
    fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget, finest_mm: float = 0.0
) -> CropConfiguration:
    """The configuration `3d_vit`: segmentation with the CNN decoder, on voxels no finer than `finest_mm`."""
    spacing = rules.target_spacing(fingerprint, finest_mm)
    shape = rules.median_shape(fingerprint, spacing)
    spent = spend_on(fingerprint, shape, spacing, budget)
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
        network=spent.network,
        training=_training(spent, budget),
        augmentation=augmentation,
        inference=InferenceSettings(
            whole_volume_tokens=8192 if budget.is_cpu else 16384, mirror_axes=augmentation.mirror_axes
        ),
        evidence=Evidence(
            crop_share_of_volume=rules.crop_share(spent.crop, shape),
            tokens_per_crop=spent.tokens,
            limit=spent.limit,
            cases=learnt_from(fingerprint),
        ),
    )


def spend_on(fingerprint: Fingerprint, shape: Size, spacing: Spacing, budget: Budget) -> Spent:
    """Network, crop and batch for a dataset whose cases are prepared to that median shape and spacing."""
    channels, outputs = len(fingerprint.intensities), len(fingerprint.structures) + 1
    return spend(shape, spacing, learnt_from(fingerprint), channels, outputs, budget)


def learnt_from(fingerprint: Fingerprint) -> int:
    """Cases, with the subjects that have no labels where pre-training on these comes first."""
    if rules.worth_pretraining(fingerprint):
        return fingerprint.labelled + fingerprint.unlabelled
    return len(fingerprint.cases)


def _training(spent: Spent, budget: Budget) -> TrainingSettings:
    """As many steps as the budget has, the rate lower the longer: 0.001 for 3000, with the cube root."""
    steps = budget.steps
    epoch = min(250, max(50, 50 * round(steps / 3000)))
    rate = float(f"{1e-3 * (3000 / steps) ** (1 / 3):.1e}")
    return TrainingSettings(
        crop=spent.crop,
        batch_size=spent.batch,
        epochs=max(1, round(steps / epoch)),
        steps_per_epoch=epoch,
        validation_crops=16 if budget.is_cpu else 64,
        learning_rate=rate,
        warmup_steps=steps // 60,
        averaged_share=0.1,
        fine_tuning=FineTuningSettings(
            learning_rate=rate, frozen_steps=steps // 60, warmup_steps=steps // 60
        ),
    )
