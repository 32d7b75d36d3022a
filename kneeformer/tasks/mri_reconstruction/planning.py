"""Configurations of reconstructions: a network and its ablation, and the classical solvers beside them."""

import math

import numpy as np

from kneeformer.config import Evidence, MaskingSettings, NetworkSettings, TrainingSettings
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.orientation import permuted
from kneeformer.kspace.sampling import FULLY_SAMPLED
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.tasks.mri_reconstruction.settings import (
    CascadeSettings,
    KSpaceSettings,
    ReconstructionConfiguration,
    SamplingSettings,
    SelfSupervisionSettings,
    SolverSettings,
)

_EDGE = 8  # voxels of a token in the plane of a slice
_CPU_TOKENS = 256  # per crop: more steps matter more, since distant rows are nearly independent
_SOLVERS = ("zero_filled", "tv", "wavelet")
_ITERATIONS = {"tv": 400, "wavelet": 100}  # to convergence: primal-dual steps are slower than FISTA
_WEIGHTS = {
    "tv": (0.005, 0.01, 0.02, 0.04, 0.08),
    "wavelet": (0.02, 0.04, 0.08, 0.16, 0.32),
}


def reconstruction_configurations(
    fingerprint: Fingerprint, budget: Budget
) -> dict[str, ReconstructionConfiguration]:
    """`3d_vit`, its ablation `3d_vit_once`, and `zero_filled`, `tv` and `wavelet`; all share their cases.

    Raises:
        KneeformerError: stacks of slices and 3D scans in one dataset.
    """
    network = unrolled_transformer(fingerprint, budget)
    once = network.model_copy(
        update={"inherits_from": "3d_vit", "cascades": CascadeSettings(count=1)},
    )
    return {"3d_vit": network, "3d_vit_once": once, **{kind: _solver(kind, network) for kind in _SOLVERS}}


def masked_configurations(fingerprint: Fingerprint, budget: Budget) -> dict[str, ReconstructionConfiguration]:
    """`3d_mae`, which pre-trains the transformer of `3d_vit`; none if cases are undersampled."""
    network = unrolled_transformer(fingerprint, budget)
    if network.self_supervision is not None:
        return {}
    update = {
        "task": "reconstruction_pretraining",
        "inherits_from": "3d_vit",
        "cascades": None,
        "masking": MaskingSettings(),
        "training": network.training.model_copy(update={"loss": "mse"}),
    }
    return {"3d_mae": network.model_copy(update=update)}


def unrolled_transformer(fingerprint: Fingerprint, budget: Budget) -> ReconstructionConfiguration:
    """Cascades, the first with the transformer, on crops of single slices, whole along encoded axes."""
    spacing = fingerprint.median_spacing
    shape, axes = rules.median_shape(fingerprint, spacing), encoded_axes(fingerprint)
    if 0 in axes:  # slices across the readout
        spacing, shape = permuted(spacing, [1, 0, 2]), permuted(shape, [1, 0, 2])
    token = (1, min(_EDGE, shape[1]), min(_EDGE, shape[2]))
    width, depth, heads = (192, 4, 4) if budget.is_cpu else (384, 12, 8)
    crop = (1, *shape[1:]) if 0 in axes else crop_size(shape, token, _CPU_TOKENS if budget.is_cpu else 4096)
    by_itself, sampling = supervision_of(fingerprint)
    return ReconstructionConfiguration(
        task="reconstruction",
        preprocessing=KSpaceSettings(folder="kspace", spacing=spacing, phase_encoding_axes=axes),
        sampling=sampling,
        self_supervision=by_itself,
        network=NetworkSettings(
            stem=rules.stem_stages(
                (math.inf, *spacing[1:]), token, width, 16 if budget.is_cpu else 32
            ),  # of slices alone
            width=width,
            depth=depth,
            heads=heads,
            drop_path=0.0,  # a new mask each step is noise enough
        ),
        cascades=CascadeSettings(),
        training=TrainingSettings(
            crop=crop,
            batch_size=1 if budget.is_cpu else 4,
            epochs=80 if budget.is_cpu else 400,
            steps_per_epoch=250,
            validation_crops=8,
            learning_rate=1e-3 if budget.is_cpu else 3e-4,
            warmup_steps=50 if budget.is_cpu else 1000,
            weight_decay=0.01,
            loss="l1_ssim",
        ),
        evidence=Evidence(
            crop_share_of_volume=rules.crop_share(crop, shape),
            tokens_per_crop=math.prod(-(-c // t) for c, t in zip(crop, token, strict=True)),
        ),
    )


def supervision_of(fingerprint: Fingerprint) -> tuple[SelfSupervisionSettings | None, SamplingSettings]:
    """Self-supervision if any file was undersampled in acquisition, and the sampling to plan for.

    It then ranges from the files' acceleration to twice that, as is left once a part is withheld.
    """
    accelerations = [case.acceleration for case in fingerprint.cases.values()]
    if max(accelerations) <= FULLY_SAMPLED:
        kind = "poisson_disc" if 0 in encoded_axes(fingerprint) else "random"
        return None, SamplingSettings(kind=kind)
    usual = max(1.0, round(float(np.median(accelerations)), 1))
    sampling = SamplingSettings(accelerations=(usual, 2 * usual), validation_acceleration=usual)
    return SelfSupervisionSettings(), sampling


def crop_size(shape: Size, token: Size, tokens: int) -> Size:
    """One slice with all columns, and as many rows of the readout as the tokens allow."""
    across = -(-shape[2] // token[2])
    rows = min(shape[1], max(1, tokens // across) * token[1])
    return (1, rows, shape[2])


def encoded_axes(fingerprint: Fingerprint) -> tuple[int, ...]:
    """(2,) columns, or (0, 2) slices and columns of 3D scans. Raises KneeformerError: both in one dataset."""
    volumes = [name for name, case in fingerprint.cases.items() if 0 in case.phase_encoding_axes]
    if volumes and len(volumes) < len(fingerprint.cases):
        raise KneeformerError(
            f"3D scans ({', '.join(volumes[:5])}{', ...' * (len(volumes) > 5)}) and stacks of slices are in "
            f"one dataset, but are phase-encoded along different axes; make a dataset of each"
        )
    return (0, 2) if volumes else (2,)


def _solver(kind: str, network: ReconstructionConfiguration) -> ReconstructionConfiguration:
    candidates = _WEIGHTS.get(kind, ())
    weight = candidates[len(candidates) // 2] if candidates else 0.0
    settings = SolverSettings.model_validate(
        {
            "kind": kind,
            "weight": weight,
            "candidates": candidates,
            "iterations": _ITERATIONS.get(kind, 1),
        }
    )
    return ReconstructionConfiguration(
        task=network.task,
        preprocessing=network.preprocessing,
        sampling=network.sampling,
        self_supervision=network.self_supervision,
        solver=settings,
        training=network.training.model_copy(update={"epochs": 0}),
    )
