"""Completion: a broken bone as it was, from what is left of it and a prior of healthy shapes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.augmentation.fractures import hide
from kneeformer.data.geometry import Geometry
from kneeformer.errors import KneeformerError
from kneeformer.evaluation.scores import CaseMetrics, score_case
from kneeformer.inference.bone import NativeBone, bring_back
from kneeformer.labels import LabelScheme, LabelValues, Side
from kneeformer.networks.completion import BoneCompletion, Completed
from kneeformer.networks.registration import DISTANCE
from kneeformer.plan import BoneConfiguration, DatasetSettings, PriorSettings
from kneeformer.planning.bones import bone_configuration, components
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.preprocessing.bone import COMPLETE, KEEP, Bone, isolate
from kneeformer.tasks.base import Outputs, PredictiveTask, Scan, StoredCases
from kneeformer.training.bones import stored_bone
from kneeformer.training.loop import Batch, Lesson

UNLIKE = 3.0  # times the prior's usual error: a bone unlike any that it was fitted to
_FITS = 0.5  # of the visible surface within the robust distance: less is no registration
_BETTER = 0.1  # more inliers: then the bone is of the other side


class Completion(PredictiveTask[BoneConfiguration]):
    """Configurations `3d_pca32` and `3d_pca16`; and what they are to be better than, `3d_prototype` and
    `3d_nearest`."""

    prepared_by = ("registration",)
    mask_labels: ClassVar[LabelValues] = {"background": 0, "keep": KEEP, "complete": COMPLETE}

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, BoneConfiguration]:
        bones = len(fingerprint.cases)
        priors = {
            "3d_pca32": PriorSettings(kind="pca", components=components(bones, 32)),
            "3d_pca16": PriorSettings(kind="pca", components=components(bones, 16)),
            "3d_prototype": PriorSettings(kind="prototype", components=1, residual=False),
            "3d_nearest": PriorSettings(kind="nearest", components=bones, residual=False),
        }
        first = bone_configuration(fingerprint, budget, "completion", priors["3d_pca32"])
        planned = {"3d_pca32": first.model_copy(update={"previous_stage": "3d_ags"})}
        for name, prior in priors.items():
            if name not in planned:
                update = {"inherits_from": "3d_pca32", "prior": prior}
                planned[name] = planned["3d_pca32"].model_copy(update=update)
        return planned

    def network(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> nn.Module:
        grid = configuration.preprocessing
        return BoneCompletion(grid.grid, grid.spacing, configuration.registration, _prior(configuration))

    def begin(self, network: nn.Module, training: StoredCases, configuration: BoneConfiguration) -> None:
        assert isinstance(network, BoneCompletion)
        device = network.registration.prototype.device
        bones = []
        for case in training.cases:
            image = stored_bone(case, device)
            fit = network.registration(image, torch.ones_like(image[DISTANCE], dtype=torch.bool))
            bones.append(network.registration.registered(image, fit.pose))
        network.prior.fit(torch.stack(bones))

    def lesson(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> Lesson:
        raise KneeformerError("this prior is fitted without steps: leave training.epochs at 0")

    def batches(
        self,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: BoneConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        raise KneeformerError("this prior is fitted without steps: leave training.epochs at 0")

    def question(
        self, labels: np.ndarray, geometry: Geometry, scheme: LabelScheme, number: int
    ) -> np.ndarray:
        bone = (labels > 0) & scheme.scored(labels)
        return hide(bone, geometry, np.random.default_rng([20, number]))

    def predict(
        self,
        networks: Sequence[nn.Module],
        scan: Scan,
        dataset: DatasetSettings,
        configuration: BoneConfiguration,
        probabilities: bool = False,
    ) -> Outputs:
        if scan.mask is None:
            raise KneeformerError(
                "a bone is completed by its mask: give the folder of masks with -m "
                "(1 bone to keep, 2 region to complete)"
            )
        settings, mask = configuration.preprocessing, scan.mask
        bone, completed, warnings = _completed(networks, scan, mask, configuration)
        native = bring_back(completed, bone, scan.image[0], mask, scan.geometry, settings)
        volumes = {"": native.mask, "_raw": native.raw, "_region": native.region, "_ct": native.ct}
        if native.uncertainty is not None:
            volumes["_uncertainty"] = native.uncertainty
        surface = native.surface(scan.geometry)
        facts = _facts(native, completed, scan, surface.vertices)
        return Outputs(
            volumes,
            surface,
            _to_model(bone, completed[0]),
            {**facts, "warnings": [*warnings, *_doubts(facts)]},
        )

    def score(
        self,
        reference: np.ndarray,
        prediction: np.ndarray,
        spacing_mm: tuple[float, float, float],
        scheme: LabelScheme,
    ) -> CaseMetrics:
        return score_case(reference, prediction, spacing_mm, scheme)


def _completed(
    networks: Sequence[nn.Module], scan: Scan, mask: np.ndarray, configuration: BoneConfiguration
) -> tuple[Bone, list[Completed], list[str]]:
    """The bone, completed by each network, on the side that is told or, where none is, that fits better."""
    settings, side = configuration.preprocessing, scan.side
    sides: list[Side] = ["left", "right"]
    trials = {}
    for trial in [side] if settings.side is None else sides:
        mirrored = settings.side is not None and trial != settings.side
        bone = isolate(scan.image[0], mask, scan.geometry, settings, mirrored)
        trials[trial] = bone, [_complete(network, bone) for network in networks]
    inliers = {trial: np.mean([c.fit.inliers for c in found]) for trial, (_, found) in trials.items()}
    best = max(inliers, key=lambda trial: inliers[trial])
    if side is None or settings.side is None or best == side or inliers[best] < inliers[side] + _BETTER:
        chosen = best if side is None or settings.side is None else side
        return *trials[chosen], []
    return *trials[side], [f"said to be a {side} bone, but fits better as a {best} one"]


def _complete(network: nn.Module, bone: Bone) -> Completed:
    assert isinstance(network, BoneCompletion)
    device = network.prior.mean.device
    completed: Completed = network(
        torch.from_numpy(bone.image).to(device), torch.from_numpy(bone.known).to(device)
    )
    return completed


def _to_model(bone: Bone, completed: Completed) -> np.ndarray:
    """(4, 4) float64: patient coordinates to the model's frame, both (x, y, z) in mm."""
    turned = np.eye(4)[[2, 1, 0, 3]]  # (z, y, x) and (x, y, z)
    pose = completed.fit.pose.matrix().numpy()
    return np.asarray(turned @ pose @ np.linalg.inv(bone.to_patient))


def _facts(
    native: NativeBone, completed: list[Completed], scan: Scan, vertices: np.ndarray
) -> dict[str, Any]:
    voxel = float(np.prod(scan.geometry.spacing))
    volume, hidden = float(native.mask.sum()) * voxel, float(native.region.sum()) * voxel
    return {
        "volume_mm3": round(volume, 1),
        "completed_mm3": round(hidden, 1),
        "hidden_fraction": round(hidden / volume, 4),
        "length_mm": round(_length_mm(vertices), 2),
        "registration": {
            "residual_mm": round(float(np.mean([c.fit.residual_mm for c in completed])), 3),
            "inliers": round(float(np.mean([c.fit.inliers for c in completed])), 3),
            "scale": round(float(np.mean([c.fit.pose.scale for c in completed])), 4),
        },
        "unlikeness": round(float(np.mean([c.unlikeness for c in completed])), 2),
        "bone_at_border_mm2": round(_cut_mm2(native.mask, scan.geometry), 1),
    }


def _doubts(facts: dict[str, Any]) -> list[str]:
    found = []
    if facts["registration"]["inliers"] < _FITS:
        found.append(
            f"only {facts['registration']['inliers']:.0%} of the visible surface lies on the prototype: the "
            f"registration has failed, or this is another bone"
        )
    if facts["unlikeness"] > UNLIKE:
        found.append(
            f"unlike the bones that were learnt from: its visible surface is {facts['unlikeness']:.1f} times "
            f"as far from the prior as theirs"
        )
    if facts["bone_at_border_mm2"] > 0:
        found.append(
            f"the bone leaves the field of view: {facts['bone_at_border_mm2']:.0f} mm2 lie on the border"
        )
    return found


def _length_mm(vertices: np.ndarray) -> float:
    """Extent along the longest axis of the bone's surface points."""
    centred = vertices - vertices.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return float(np.ptp(centred @ axis))


def _cut_mm2(mask: np.ndarray, geometry: Geometry) -> float:
    """Area of the bone on the border of the field of view."""
    total = 0.0
    for axis in range(3):
        face = float(np.prod([s for a, s in enumerate(geometry.spacing) if a != axis]))
        ends = np.moveaxis(mask, axis, 0)[[0, -1]]
        total += face * float(np.count_nonzero(ends))
    return total


def _prior(configuration: BoneConfiguration) -> PriorSettings:
    if configuration.prior is None:
        raise KneeformerError('a configuration of task "completion" needs `prior`: {} takes the defaults')
    return configuration.prior
