"""The grid on which a dataset's bones are compared, and the configurations on it."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from kneeformer.config import CropConfiguration, DatasetSettings, Evidence, TrainingSettings
from kneeformer.geometry.aliases import Size
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.hybrid import hybrid_transformer
from kneeformer.shape_models.settings import CodeSettings, PriorSettings, RegistrationSettings
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings

SPACINGS_MM = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
_MARGIN_MM = 12.0  # around the largest bone, for other orientations and for surroundings
_CPU_VOXELS, _GPU_VOXELS = 400_000, 4_500_000
_USUAL_BONES, _EPOCH = 25, 25  # number of bones in most measurements; steps per epoch
_FINDING = 0.25  # of the time of other segmentations' steps: a part of a bone is enough to find it
_MUCH_SMALLER = 0.7
_MULTIPLE = 8  # of every side of the grid, which autoencoders halve three times


def bone_grid(extents_mm: np.ndarray, budget: Budget, voxels: int | None = None) -> tuple[Size, float]:
    """Size and spacing of the finest grid that holds every bone and fits the machine.

    Args:
        extents_mm: (bones, 3) along (z, y, x) of the patient.
        voxels: limit; None takes that of the machine.
    """
    needed = extents_mm.max(0) + 2 * _MARGIN_MM
    limit = voxels or (_CPU_VOXELS if budget.is_cpu else _GPU_VOXELS)
    for spacing in SPACINGS_MM:
        z, y, x = (_MULTIPLE * math.ceil(mm / spacing / _MULTIPLE) for mm in needed)
        if z * y * x <= limit:
            break
    return (z, y, x), spacing


def worth_straightening(lying_mm: np.ndarray, straight_mm: np.ndarray) -> bool:
    """True where a grid that is turned with each bone is much smaller than one that is not.

    Args:
        lying_mm, straight_mm: (bones, 3) extents along the patient's axes, unchanged and straightened.
    """
    lying, straight = (float(np.prod(e.max(0) + 2 * _MARGIN_MM)) for e in (lying_mm, straight_mm))
    return straight < _MUCH_SMALLER * lying


def common_side(sides: list[Side | None]) -> Side | None:
    """The side that all bones are mirrored to, the more frequent one; None if no side is known."""
    left, right = sides.count("left"), sides.count("right")
    if not (left or right):
        return None
    return "left" if left > right else "right"


def components(bones: int, wanted: int) -> int:
    """Number of PCA components: as wanted, but fewer than the training bones of a fold."""
    learnt_from = bones - math.ceil(bones / min(5, bones)) if bones > 1 else bones
    return max(1, min(wanted, learnt_from - 1))


def code(bones: int) -> CodeSettings:
    """The code of an autoencoder: 8 channels and 128 codes for 25 bones, as measured.

    Variation grows more slowly than the number of bones: four times the bones double the code.
    """
    usual, doublings = CodeSettings(), max(-1, min(2, round(math.log2(bones / _USUAL_BONES) / 2)))
    size = 2.0**doublings
    return CodeSettings(latent_channels=int(size * usual.latent_channels), codes=int(size * usual.codes))


def stepwise(
    training: TrainingSettings, bones: int, budget: Budget, loss: Literal["dssim", "points", "mse"]
) -> TrainingSettings:
    """Training settings of a network of whole bones: it sees each bone 40 times, a registration 80 times.

    Autoencoders learn what generalises early. No training is shorter than that for 25 bones, some minutes on
    a CPU.
    """
    shown, batch = 40 if loss == "mse" else 80, 4 if budget.is_cpu else 16
    steps = shown * max(bones, _USUAL_BONES) / batch
    return training.model_copy(
        update={
            "batch_size": batch,
            "epochs": max(math.ceil(steps / _EPOCH), 0 if budget.is_cpu else 200),
            "steps_per_epoch": _EPOCH,
            "validation_crops": 16,
            "loss": loss,
            "precision": "fp32",
        }
    )


def bone_preprocessing(
    fingerprint: Fingerprint, budget: Budget, voxels: int | None = None
) -> BoneGridSettings:
    """The grid of a dataset's bones; `voxels` as in `bone_grid`."""
    facts = list(fingerprint.cases.values())
    lying, straight = (np.array(e) for e in zip(*((c.extent_mm, c.straight_mm) for c in facts), strict=True))
    straightened = worth_straightening(lying, straight)
    grid, spacing = bone_grid(straight if straightened else lying, budget, voxels)
    side = common_side([c.side for c in facts])
    mirrored = ("" if side is None else f"_{side}") + ("_straight" if straightened else "")
    return BoneGridSettings(
        folder=f"bones_{spacing:g}mm{mirrored}",
        spacing=(spacing,) * 3,
        grid=grid,
        side=side,
        straightened=straightened,
    )


def bone_configuration(
    fingerprint: Fingerprint, budget: Budget, task: str, prior: PriorSettings | None
) -> BoneConfiguration:
    """A model of whole bones that is fitted in closed form, without steps."""
    preprocessing = bone_preprocessing(fingerprint, budget)
    return BoneConfiguration(
        task=task,
        preprocessing=preprocessing,
        registration=RegistrationSettings(),
        prior=prior,
        training=TrainingSettings(
            crop=preprocessing.grid, batch_size=1, epochs=0, steps_per_epoch=1, learning_rate=1e-3
        ),
        evidence=Evidence(crop_share_of_volume=1.0, tokens_per_crop=1, cases=len(fingerprint.cases)),
    )


def bone_segmentation(
    fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget, finest_mm: float
) -> CropConfiguration:
    """A network that finds bones in whole scans, where no mask marks them.

    It predicts by windows of the size of crops, never whole scans: its features are normalised over the input
    and would differ there.

    Args:
        finest_mm: spacing of the bones' grid; a coarser one of the scans is kept.
    """
    hybrid = hybrid_transformer(fingerprint, dataset, replace(budget, share=_FINDING), finest_mm)
    tokens = math.prod(hybrid.training.crop) // math.prod(hybrid.network.token)
    update = {
        "preprocessing": hybrid.preprocessing.model_copy(update={"folder": "3d_segmentation"}),
        "inference": hybrid.inference.model_copy(update={"whole_volume_tokens": tokens}),
        "previous_stage": None,
        "teacher": None,
    }
    return hybrid.model_copy(update=update)
