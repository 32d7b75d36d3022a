"""The rules of self-configuration: one function per decision, from measurements of the data.

They know vision transformers on anisotropic data. All triples are (z, y, x).
"""

import numpy as np

from kneeformer.config import AugmentationSettings, Normalisation, StemStage
from kneeformer.config.ranges import PatientAxis
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.resampling import new_shape, resampled_spacing
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.sides import sides_in_name

ANISOTROPIC = 3.0  # an axis this much coarser than the finest has thick slices
_NORMALISATIONS = {"ct": "ct", "nonorm": "none", "none": "none", "zscore": "zscore", "rescaleto01": "unit"}


def target_spacing(fingerprint: Fingerprint, finest_mm: float = 0.0) -> Spacing:
    """Median of each axis; where one is thick (over 3 x coarser), its 10th percentile.

    Thick slices are never made thin, nor thin ones thick: 0.3 x 0.3 x 3 mm stays what it is, unless that is
    finer than `finest_mm`.
    """
    spacing = list(fingerprint.median_spacing)
    coarsest = int(np.argmax(spacing))
    if spacing[coarsest] > ANISOTROPIC * min(spacing):
        finest_elsewhere = max(s for axis, s in enumerate(spacing) if axis != coarsest)
        tenth = float(np.percentile(fingerprint.spacings[:, coarsest], 10))
        spacing[coarsest] = max(tenth, finest_elsewhere)
    return _spacing([max(s, finest_mm) for s in spacing])


def thick_axis(spacing: Spacing) -> int | None:
    """The axis over 3 x coarser than the finest, or None."""
    coarsest = int(np.argmax(spacing))
    return coarsest if spacing[coarsest] > ANISOTROPIC * min(spacing) else None


def median_shape(fingerprint: Fingerprint, spacing: Spacing) -> Size:
    """Median size of the cases in voxels, resampled to the target spacing."""
    thick = thick_axis(spacing)
    shapes = [
        new_shape(case.shape, case.spacing, resampled_spacing(case.spacing, spacing, thick))
        for case in fingerprint.cases.values()
    ]
    return _size(np.round(np.median(shapes, 0)).astype(int).tolist())


def stem_stages(spacing: Spacing, token: Size, width: int, first_channels: int) -> tuple[StemStage, ...]:
    """The stages of the stem: an axis is halved only while its spacing is the finest, within a factor of 2.

    Kernels reach across an axis (3) once its spacing is under 2 x the finest, or where it is halved.
    Channels double from `first_channels` up to half the width; the last stage has the width.
    """
    current, left = list(spacing), list(token)
    stages = [StemStage(channels=first_channels, stride=(1, 1, 1), kernel=_kernel(current))]
    while max(left) > 1:
        finest = min(s for s, f in zip(current, left, strict=True) if f > 1)
        stride = [2 if f > 1 and s < 2 * finest else 1 for s, f in zip(current, left, strict=True)]
        current = [s * f for s, f in zip(current, stride, strict=True)]
        left = [a // b for a, b in zip(left, stride, strict=True)]
        channels = min(stages[-1].channels * 2, width // 2) if max(left) > 1 else width
        kernel = _size([3 if s == 2 else k for s, k in zip(stride, _kernel(current), strict=True)])
        stages.append(StemStage(channels=channels, stride=_size(stride), kernel=kernel))
    if len(stages) == 1:  # tokens of one voxel
        stages.append(StemStage(channels=width, stride=(1, 1, 1), kernel=_kernel(current)))
    return tuple(stages)


def normalisation(fingerprint: Fingerprint, channel_names: tuple[str, ...]) -> tuple[Normalisation, ...]:
    """CT by the dataset's percentiles, "noNorm" and "rescale_to_0_1" as nnU-Net names them, else z-score."""
    chosen = []
    for name, seen in zip(channel_names, fingerprint.intensities, strict=True):
        kind = _NORMALISATIONS.get(name.lower().replace("_", "").replace("-", "").replace(" ", ""), "zscore")
        if kind == "ct":
            chosen.append(
                Normalisation(
                    kind="ct",
                    lower=seen.percentile_00_5,
                    upper=max(seen.percentile_99_5, seen.percentile_00_5 + 1e-3),
                    mean=seen.mean,
                    deviation=max(seen.deviation, 1e-6),
                )
            )
        else:
            chosen.append(Normalisation.model_validate({"kind": kind}))
    return tuple(chosen)


def mirror_axes(fingerprint: Fingerprint) -> tuple[PatientAxis, ...]:
    """Left-right alone, and only where no structure is named after a side.

    A mirrored left knee is a right knee; a knee upside down is not a knee.
    """
    return () if any(map(sides_in_name, fingerprint.structures)) else ("RL",)


def augmentation(fingerprint: Fingerprint, spacing: Spacing) -> AugmentationSettings:
    """Rotations about every axis, or in-plane only where slices are thick."""
    thick = thick_axis(spacing)
    z, y, x = (15.0 if thick in (None, axis) else 0.0 for axis in range(3))
    return AugmentationSettings(
        mirror_axes=mirror_axes(fingerprint), rotation_degrees=(z, y, x), scale=(0.85, 1.18)
    )


def worth_pretraining(fingerprint: Fingerprint) -> bool:
    """True where a masked autoencoder is trained before the segmentation."""
    return fingerprint.unlabelled >= 3 * fingerprint.labelled_subjects


def worth_teaching(fingerprint: Fingerprint) -> bool:
    """True where the averaged network labels images: few have labels, and at least as many have none.

    With four labelled subjects, every fold still has three to learn from.
    """
    labelled = fingerprint.labelled_subjects
    return 4 <= labelled <= 40 and fingerprint.unlabelled >= labelled


def crop_share(crop: Size, shape: Size) -> float:
    """Part of the median volume that a crop sees."""
    return float(np.prod([min(c, n) / n for c, n in zip(crop, shape, strict=True)]))


def _kernel(spacing: list[float]) -> Size:
    return _size([3 if s < 2 * min(spacing) else 1 for s in spacing])


def _size(values: list[int]) -> Size:
    z, y, x = values
    return (int(z), int(y), int(x))


def _spacing(values: list[float]) -> Spacing:
    z, y, x = values
    return (float(z), float(y), float(x))
