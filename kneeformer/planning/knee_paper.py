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
from kneeformer.planning.hybrid import learnt_from, spend_on
from kneeformer.planning.spending import Spent

_IN_PLANE, _SLICES = 320, 36
_TRAINING_SHARE = 0.8  # of the cases, as printed and as in five folds
_WEIGHT_DECAY = 1e-4  # the paper prints no value
_CUTMIX_PROBABILITY = 0.3  # the paper prints no value


def knee_paper(
    configuration: CropConfiguration, fingerprint: Fingerprint, budget: Budget
) -> CropConfiguration:
    """The published self-supervised transformer for knee MRI, as far as its recipe is printed.

    Printed: the grid, linear interpolation, intensities in [0, 1], flips, affine changes, noise and CutMix,
    squared errors, Adam at 1e-4 with weight decay, 100 epochs, pre-training on masked intensities. What is
    not printed follows our rules on that grid: tokens, stem, crop, batch, width and depth.
    """
    shape, spacing = paper_grid(fingerprint)
    spent = spend_on(fingerprint, shape, spacing, budget)
    network, masking = configuration.network, configuration.masking
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
            "network": spent.network.model_copy(
                update={"decoder": network.decoder, "drop_path": network.drop_path}
            ),
            "training": _training(configuration, fingerprint, spent, shape),
            "augmentation": _augmentation(configuration, fingerprint, spacing),
            "masking": masking and masking.model_copy(update={"target": "intensity"}),
            "teacher": None,
            "evidence": Evidence(
                crop_share_of_volume=rules.crop_share(spent.crop, shape),
                tokens_per_crop=spent.tokens,
                limit=spent.limit,
                cases=learnt_from(fingerprint),
            ),
        }
    )


def paper_grid(fingerprint: Fingerprint) -> tuple[Size, Spacing]:
    """Size of every case, with the fewest voxels along the coarsest axis, and its median spacing."""
    voxels = [_IN_PLANE] * 3
    voxels[int(np.argmax(fingerprint.median_spacing))] = _SLICES
    extents = [np.multiply(c.file_shape, c.spacing) for c in fingerprint.cases.values()]
    z, y, x = (np.median(extents, 0) / voxels).tolist()
    return (voxels[0], voxels[1], voxels[2]), (z, y, x)


def _training(
    configuration: CropConfiguration, fingerprint: Fingerprint, spent: Spent, shape: Size
) -> TrainingSettings:
    """An epoch shows as many voxels as the training cases have: the paper's pass over them, by crops."""
    proposed = configuration.training
    cases = _TRAINING_SHARE * fingerprint.labelled
    if configuration.masking is not None:
        cases += fingerprint.unlabelled
    steps = math.ceil(cases / (spent.batch * rules.crop_share(spent.crop, shape)))
    return proposed.model_copy(
        update={
            "crop": spent.crop,
            "batch_size": spent.batch,
            "epochs": 100,
            "steps_per_epoch": steps,
            "optimiser": "adam",
            "learning_rate": 1e-4,
            "weight_decay": _WEIGHT_DECAY,
            "warmup_steps": min(proposed.warmup_steps, steps),
            "averaged_share": 0.0,
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
            "blur_probability": 0.0,
            "brightness_probability": 0.0,
            "contrast_probability": 0.0,
            "gamma_probability": 0.0,
            "low_resolution_probability": 0.0,
            "cutmix_probability": _CUTMIX_PROBABILITY if configuration.masking is None else 0.0,
        }
    )
