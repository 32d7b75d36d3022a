"""The published recipe of the self-supervised transformer for knee MRI, as far as it is printed."""

import math

import numpy as np

from kneeformer.config import (
    AugmentationSettings,
    CropConfiguration,
    Evidence,
    Normalisation,
    PreprocessingSettings,
    TrainingSettings,
)
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint

_IN_PLANE, _SLICES = 320, 36
_TRAINING_SHARE = 0.8  # of the cases, printed; five folds are that
_WEIGHT_DECAY = 1e-4  # printed without a value
_CUTMIX_CHANCE = 0.3  # likewise


def knee_paper(
    configuration: CropConfiguration, fingerprint: Fingerprint, budget: Budget
) -> CropConfiguration:
    """The published self-supervised transformer for knee MRI, as far as its recipe is printed.

    Printed: the grid, linear interpolation, intensities in [0, 1], flips, affine changes, noise and CutMix,
    squared errors, Adam at 1e-4 with weight decay, 100 epochs, pre-training on masked intensities. What is
    not printed follows our rules on that grid: tokens, stem, crop, batch, width and depth.
    """
    shape, spacing = paper_grid(fingerprint)
    token = rules.token_size(spacing, budget)
    crop = rules.crop_size(shape, spacing, token, budget.tokens)
    network, masking = configuration.network, configuration.masking
    stem = rules.stem_stages(spacing, token, network.width, network.stem[0].channels)
    return configuration.model_copy(
        update={
            "previous_stage": "3d_mae" if masking is None else None,
            "preprocessing": PreprocessingSettings(
                folder=f"paper_{_IN_PLANE}x{_IN_PLANE}x{_SLICES}",
                spacing=spacing,
                orientations=fingerprint.orientations,
                median_shape=shape,
                fixed_shape=shape,
                thick_axis=rules.thick_axis(fingerprint.median_spacing),
                interpolation="linear",
                crop_to_nonzero=False,
                normalisation=(Normalisation(kind="unit"),) * len(configuration.preprocessing.normalisation),
            ),
            "network": network.model_copy(update={"stem": stem}),
            "training": _training(configuration, fingerprint, budget, crop, shape),
            "augmentation": _augmentation(configuration, fingerprint, spacing),
            "masking": masking and masking.model_copy(update={"target": "intensity"}),
            "evidence": Evidence(
                crop_share_of_volume=rules.crop_share(crop, shape),
                tokens_per_crop=math.prod(c // t for c, t in zip(crop, token, strict=True)),
            ),
        }
    )


def paper_grid(fingerprint: Fingerprint) -> tuple[Size, Spacing]:
    """Voxels of every case, the fewest along the axis of the largest spacing; their mm in the median case."""
    voxels = [_IN_PLANE] * 3
    voxels[int(np.argmax(fingerprint.median_spacing))] = _SLICES
    extents = [np.multiply(c.file_shape, c.spacing) for c in fingerprint.cases.values()]
    z, y, x = (np.median(extents, 0) / voxels).tolist()
    return (voxels[0], voxels[1], voxels[2]), (z, y, x)


def _training(
    configuration: CropConfiguration, fingerprint: Fingerprint, budget: Budget, crop: Size, shape: Size
) -> TrainingSettings:
    """An epoch shows as many voxels as the training cases have: the paper's pass over them, in crops."""
    proposed = configuration.training
    usual = rules.batch_size(proposed.crop, budget)
    batch = proposed.batch_size * rules.batch_size(crop, budget) // usual  # a task's own factor is kept
    cases = _TRAINING_SHARE * fingerprint.labelled
    if configuration.masking is not None:
        cases += fingerprint.unlabelled
    steps = math.ceil(cases / (batch * rules.crop_share(crop, shape)))
    return proposed.model_copy(
        update={
            "crop": crop,
            "batch_size": batch,
            "epochs": 100,
            "steps_per_epoch": steps,
            "optimiser": "adam",
            "learning_rate": 1e-4,
            "weight_decay": _WEIGHT_DECAY,
            "warmup_steps": min(proposed.warmup_steps, steps),
            "loss": "mse",
            "fine_tuning": None,
        }
    )


def _augmentation(
    configuration: CropConfiguration, fingerprint: Fingerprint, spacing: Spacing
) -> AugmentationSettings:
    """Flips, affine changes, noise and CutMix; pre-training, whose targets are images, has the first two."""
    spatial = rules.augmentation(fingerprint, spacing)
    return configuration.augmentation.model_copy(
        update={
            "mirror_axes": spatial.mirror_axes,
            "rotation_degrees": spatial.rotation_degrees,
            "scale": spatial.scale,
            "blur_chance": 0.0,
            "brightness_chance": 0.0,
            "contrast_chance": 0.0,
            "gamma_chance": 0.0,
            "low_resolution_chance": 0.0,
            "cutmix_chance": _CUTMIX_CHANCE if configuration.masking is None else 0.0,
        }
    )
