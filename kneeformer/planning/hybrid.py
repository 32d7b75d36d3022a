"""The vision transformer for a dataset and a machine, shared by segmentation and its pre-training."""

from kneeformer.config import (
    CropConfiguration,
    DatasetSettings,
    Evidence,
    FineTuningSettings,
    InferenceSettings,
    PreprocessingSettings,
    TeacherSettings,
    TrainingSettings,
)
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.spending import Spent, spend

_TEACHING = 0.5  # time for labelling images, as a share of that of all steps
_FORWARD = 1 / 3  # time to predict a crop, as a share of a step on it
_OVERLAPPING = 8  # windows that see a voxel, overlapping by half along three axes


def hybrid_transformer(
    fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget, finest_mm: float = 0.0
) -> CropConfiguration:
    """The configuration `3d_vit`: segmentation with the CNN decoder, on voxels no finer than `finest_mm`."""
    spacing = rules.target_spacing(fingerprint, finest_mm)
    shape = rules.median_shape(fingerprint, spacing)
    spent = spend_on(fingerprint, shape, spacing, budget)
    augmentation, training = rules.augmentation(fingerprint, spacing), _training(spent, budget)
    share = rules.crop_share(spent.crop, shape)
    teacher = planned_teacher(training, share, len(augmentation.mirror_axes))
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
        training=training,
        augmentation=augmentation,
        inference=InferenceSettings(
            whole_volume_tokens=8192 if budget.is_cpu else 16384, mirror_axes=augmentation.mirror_axes
        ),
        teacher=teacher if rules.worth_teaching(fingerprint) else None,
        evidence=Evidence(
            crop_share_of_volume=share,
            tokens_per_crop=spent.tokens,
            limit=spent.limit,
            cases=learnt_from(fingerprint),
        ),
    )


def spend_on(fingerprint: Fingerprint, shape: Size, spacing: Spacing, budget: Budget) -> Spent:
    """Network, crop and batch for a dataset with this median shape and spacing of prepared cases."""
    channels, outputs = len(fingerprint.intensities), len(fingerprint.structures) + 1
    return spend(shape, spacing, learnt_from(fingerprint), channels, outputs, budget)


def learnt_from(fingerprint: Fingerprint) -> int:
    """Number of cases to learn from, including unlabelled subjects where pre-training uses them."""
    if rules.worth_pretraining(fingerprint):
        return fingerprint.labelled + fingerprint.unlabelled
    return len(fingerprint.cases)


def planned_teacher(training: TrainingSettings, crop_share: float, mirror_axes: int) -> TeacherSettings:
    """The teacher of a training; the longer predictions take, the fewer images it labels.

    Args:
        crop_share: part of a volume that a crop sees.
        mirror_axes: number of axes along which predictions are mirrored.
    """
    usual = TeacherSettings()
    crops = training.batch_size * training.epochs * training.steps_per_epoch
    windows = 1 if crop_share == 1 else _OVERLAPPING / crop_share
    an_image = _FORWARD * windows * 2**mirror_axes  # in steps on one crop
    affordable = int(_TEACHING * crops / (len(usual.rounds) * an_image))
    return usual.model_copy(update={"images": max(1, min(usual.images, affordable))})


def _training(spent: Spent, budget: Budget) -> TrainingSettings:
    """The steps of the budget; the learning rate is 0.001 for 3000 and falls with their cube root."""
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
