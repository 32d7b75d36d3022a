"""The published recipe for masked registration and autoencoding of tibiae, and the table it is reported in.

The table has four blocks, one per registration, with five priors each. The autoencoders appear once more as
`_tuned`, trained like those of the default plan.

==================  =============  ===============================================================
registration        names end in   priors
==================  =============  ===============================================================
`3d_unregistered`   _unregistered  learn from whole bones (equation 3)
`3d_ags`            _ags           likewise; registered directly (equation 1)
`3d_stn`            _stn           likewise; by a spatial transformer (equation 2)
`3d_stn_robust`                    made robust to masks (equation 5), as is the transformer (equation 4)
==================  =============  ===============================================================
"""

import math
from collections.abc import Mapping
from typing import Any

from kneeformer.config import TrainingSettings
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.shape_models.settings import (
    DescentSettings,
    LocNetSettings,
    PriorSettings,
    RegistrationSettings,
)
from kneeformer.tasks.bone_completion.planning import bone_preprocessing
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneLearningSettings

AUTOENCODERS = ("3d_vae", "3d_vqvae")
PRIORS = ("3d_prototype", "3d_pca32", "3d_pca16", *AUTOENCODERS)
BLOCKS = {"_unregistered": "3d_unregistered", "_ags": "3d_ags", "_stn": "3d_stn", "": "3d_stn_robust"}

_RATE, _BATCH = 1e-5, 16
_DIRECT_EPOCHS, _DIRECT_STEPS = 100, 50  # of each batch
_LOCNET_EPOCHS, _CODE_EPOCHS = 1000, 500
_PASSES = 10  # over the bones, between two looks at the validation bones
_TRAINING_SHARE = 0.8  # of the bones
_WEIGHT_DECAY = 0.01  # AdamW's own
_CPU_VOXELS = 40_000  # thousands of epochs: a grid for which a CPU has the time
_STILL = BoneLearningSettings(rotation_degrees=0, shift_mm=0, scale=(1, 1), hidden_probability=0)


def tibia_paper(
    proposed: Mapping[str, BoneConfiguration], fingerprint: Fingerprint, budget: Budget
) -> dict[str, BoneConfiguration]:
    """Registrations and priors as printed: AdamW at 1e-5, batches of 16, 1000 epochs for transformers and 500
    for autoencoders; direct registration takes 50 steps per batch in 100 epochs. Nothing is refined by least
    squares, and no residual is kriged.

    An epoch of the plan is ten of the paper's. The loss of autoencoders includes distances beside CT, because
    surfaces are made from them.
    """
    voxels = _CPU_VOXELS if budget.is_cpu else None
    grid = bone_preprocessing(fingerprint, budget, voxels)
    base = proposed["3d_ags"].model_copy(
        update={
            "preprocessing": grid,
            "training": proposed["3d_ags"].training.model_copy(update={"crop": grid.grid}),
        }
    )
    registrations = _registrations(base, fingerprint)
    return {**registrations, **_priors(proposed, registrations, fingerprint)}


def _registrations(base: BoneConfiguration, fingerprint: Fingerprint) -> dict[str, BoneConfiguration]:
    still = RegistrationSettings(rounds=1, steps=0)
    descent = DescentSettings(learning_rate=_RATE, steps=_DIRECT_STEPS)
    direct = RegistrationSettings(rounds=_DIRECT_EPOCHS, steps=0, descent=descent)
    transformer = RegistrationSettings(steps=0, locnet=LocNetSettings())
    planned: dict[str, dict[str, Any]] = {
        "3d_unregistered": {"registration": still},
        "3d_ags": {"registration": direct},
        "3d_stn": {
            "registration": transformer,
            "learning": _STILL,
            "training": _stepwise(base, fingerprint, _LOCNET_EPOCHS, "dssim"),
        },
        "3d_stn_robust": {
            "registration": transformer,
            "previous_stage": "3d_stn",
            "learning": BoneLearningSettings(shift_mm=25, hidden_probability=1),
            "training": _stepwise(base, fingerprint, _LOCNET_EPOCHS, "points"),
        },
    }
    return {name: base.model_copy(update=update) for name, update in planned.items()}


def _priors(
    proposed: Mapping[str, BoneConfiguration],
    registrations: Mapping[str, BoneConfiguration],
    fingerprint: Fingerprint,
) -> dict[str, BoneConfiguration]:
    planned = {}
    for suffix, stage in BLOCKS.items():
        base = registrations[stage].model_copy(update={"previous_stage": stage})
        for name in PRIORS:
            update = {"task": proposed[name].task, "prior": _plain(proposed[name].prior), "learning": None}
            planned[name + suffix] = base.model_copy(
                update={**update, "training": registrations["3d_ags"].training}
            )
        for name in AUTOENCODERS:
            printed = {
                "learning": _shown(_STILL, masked=not suffix),
                "training": _stepwise(base, fingerprint, _CODE_EPOCHS, "mse"),
            }
            planned[name + suffix] = planned[name + suffix].model_copy(update=printed)
            planned[f"{name}_tuned{suffix}"] = planned[name + suffix].model_copy(
                update=_tuned(proposed[name], base, masked=not suffix)
            )
    return planned


def _tuned(
    autoencoder: BoneConfiguration, base: BoneConfiguration, masked: bool
) -> dict[str, BoneLearningSettings | TrainingSettings]:
    """Learning rate, steps, batches and augmentation of the default plan."""
    assert autoencoder.learning is not None
    training = autoencoder.training.model_copy(update={"crop": base.preprocessing.grid})
    return {"learning": _shown(autoencoder.learning, masked), "training": training}


def _plain(prior: PriorSettings | None) -> PriorSettings:
    """The prior without residual kriging, and with hidden voxels at the mean for PCA."""
    assert prior is not None
    return prior.model_copy(
        update={"residual": False, "kind": "pca_zero" if prior.kind == "pca" else prior.kind}
    )


def _shown(learning: BoneLearningSettings, masked: bool) -> BoneLearningSettings:
    return learning.model_copy(update={"hidden_probability": 1.0 if masked else 0.0})


def _stepwise(base: BoneConfiguration, fingerprint: Fingerprint, epochs: int, loss: str) -> TrainingSettings:
    bones = max(1, round(_TRAINING_SHARE * len(fingerprint.cases)))
    batch = min(_BATCH, bones)
    return base.training.model_copy(
        update={
            "batch_size": batch,
            "epochs": epochs // _PASSES,
            "steps_per_epoch": _PASSES * math.ceil(bones / batch),
            "validation_crops": batch,
            "learning_rate": _RATE,
            "weight_decay": _WEIGHT_DECAY,
            "warmup_steps": 0,
            "loss": loss,
            "precision": "fp32",
        }
    )
