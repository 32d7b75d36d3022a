"""Bone completion: the missing part of a bone from its visible part and a prior of healthy shapes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.config import Configuration, DatasetSettings
from kneeformer.data.hounsfield import ct_warnings, hounsfield_fault
from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Objective
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import FRAGMENTS, LabelScheme
from kneeformer.metrics.score_table import Score
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.progress import Progress
from kneeformer.shape_models.completion import Completed, CompletionModel
from kneeformer.shape_models.priors import OtherSide
from kneeformer.shape_models.settings import PriorSettings
from kneeformer.shape_models.vqvae import VqVae
from kneeformer.sides import Whose
from kneeformer.tasks.base import PredictiveTask
from kneeformer.tasks.bone_completion.batches import bone_batches
from kneeformer.tasks.bone_completion.bone_orientation import tensors
from kneeformer.tasks.bone_completion.bone_task import BoneTask
from kneeformer.tasks.bone_completion.cached_poses import cached_poses
from kneeformer.tasks.bone_completion.calibration import calibrate
from kneeformer.tasks.bone_completion.codebook_review import review_codebook
from kneeformer.tasks.bone_completion.completion_picture import CompletedBone, draw_completion
from kneeformer.tasks.bone_completion.facts import doubts, facts_of
from kneeformer.tasks.bone_completion.fractures import hide
from kneeformer.tasks.bone_completion.fragments import as_region, label_map_of, reposition
from kneeformer.tasks.bone_completion.isolation import Bone, Outline
from kneeformer.tasks.bone_completion.native import resample_to_native
from kneeformer.tasks.bone_completion.objective import PriorObjective
from kneeformer.tasks.bone_completion.other_side import (
    doubts_of_other_side,
    facts_of_other_side,
    isolated_other_side,
)
from kneeformer.tasks.bone_completion.planning import (
    bone_configuration,
    bone_segmentation,
    code,
    components,
    stepwise,
)
from kneeformer.tasks.bone_completion.settings import (
    BoneConfiguration,
    BoneLearningSettings,
)
from kneeformer.tasks.bone_completion.which_side import place, register
from kneeformer.tasks.bone_completion.whole_bones import score_whole_bones
from kneeformer.tasks.cases import Outputs, Scan, StoredCases


class BoneCompletion(BoneTask, PredictiveTask[BoneConfiguration]):
    """Configurations `3d_gp`, `3d_pca32`, `3d_pca16`, `3d_vae`, `3d_vqvae` and `3d_vit_prior`, a prior each.

    Baselines are `3d_prototype`, `3d_nearest`, `3d_pca_zero`, the autoencoders trained on whole bones alone,
    `3d_vae_plain` and `3d_vqvae_plain`, and `3d_mirrored` where the dataset has both sides of every subject.
    `3d_segmentation` finds the bone in a scan.
    """

    prepared_by = ("registration",)
    outputs: ClassVar[tuple[str, ...]] = (
        *("*", "_raw*", "_region*", "_ct*", "_uncertainty*"),
        *(".stl", ".tfm", ".json", ".png"),
        "_fragments*",
        *(f"_fragment{label}{ending}" for label in FRAGMENTS for ending in (".stl", ".tfm")),
    )
    requires_mask: ClassVar[bool] = True
    bone_finder: ClassVar[str] = "3d_segmentation"

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, Configuration]:
        bones = len(fingerprint.cases)
        modes = components(bones, 32)
        fitted = {
            "3d_gp": PriorSettings(kind="gp", components=modes),
            "3d_pca16": PriorSettings(kind="pca", components=components(bones, 16)),
            "3d_prototype": PriorSettings(kind="prototype", components=1, residual=False),
            "3d_nearest": PriorSettings(kind="nearest", components=bones, residual=False),
            "3d_pca_zero": PriorSettings(kind="pca_zero", components=modes, residual=False),
        }
        if fingerprint.both_sides:
            fitted["3d_mirrored"] = PriorSettings(kind="mirrored", components=1, residual=False)
        trained = {
            "3d_vae": PriorSettings(kind="vae", components=modes, code=code(bones)),
            "3d_vqvae": PriorSettings(kind="vqvae", components=modes, code=code(bones)),
            "3d_vit_prior": PriorSettings(kind="vit", components=modes),
        }
        best = PriorSettings(kind="pca", components=modes)
        first = bone_configuration(fingerprint, budget, "completion", best)
        first = first.model_copy(update={"previous_stage": "3d_ags"})
        learning = BoneLearningSettings(rotation_degrees=3, shift_mm=3, scale=(0.97, 1.03))
        by_steps = {
            "learning": learning,
            "training": stepwise(first.training, bones, budget, "mse"),
        }
        planned: dict[str, Configuration] = {"3d_pca32": first}
        for name, prior in {**fitted, **trained}.items():
            update = {"inherits_from": "3d_pca32", "prior": prior, **(by_steps if name in trained else {})}
            planned[name] = first.model_copy(update=update)
        whole = learning.model_copy(update={"hidden_probability": 0.0})
        for name in ("3d_vae", "3d_vqvae"):
            update = {"inherits_from": name, "learning": whole}
            planned[f"{name}_plain"] = planned[name].model_copy(update=update)
        spacing = max(first.preprocessing.spacing)
        return {**planned, self.bone_finder: bone_segmentation(fingerprint, dataset, budget, spacing)}

    def network(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> nn.Module:
        grid = configuration.preprocessing
        return CompletionModel(grid.grid, grid.spacing, configuration.registration, _prior(configuration))

    def begin(
        self, network: nn.Module, training: StoredCases, configuration: BoneConfiguration, watch: Progress
    ) -> None:
        assert isinstance(network, CompletionModel)
        if not network.registration.prototype.any():
            raise KneeformerError(
                "a prior is fitted to registered bones: omit --no_pretraining, and keep previous_stage in "
                "the plan"
            )
        registration, device = network.registration, network.registration.prototype.device
        posed = cached_poses(registration, training.cases, watch)
        bones = [registration.registered(bone.image.to(device), bone.pose) for bone in posed]
        whose = [training.whose.get(case.name, Whose(case.name, None)) for case in training.cases]
        network.fit(torch.stack(bones), whose, [bone.pose.scale for bone in posed])
        if not configuration.by_steps and configuration.registration.descent is None:  # which takes minutes
            calibrate(network, posed, whose, watch)

    def objective(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> Objective:
        return PriorObjective()

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: BoneConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        assert isinstance(network, CompletionModel)
        posed = cached_poses(network.registration, stored.cases)
        return bone_batches(posed, configuration, seed, training, on_prototype=True)

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: BoneConfiguration,
        output: Path,
    ) -> str:
        assert isinstance(network, CompletionModel)
        if not isinstance(network.prior, VqVae):
            return ""
        return review_codebook(network.registration, network.prior, validation.cases, output)

    def make_validation_mask(
        self, labels: np.ndarray, grid: Grid, scheme: LabelScheme, number: int
    ) -> np.ndarray:
        bone = scheme.foreground(labels)
        return hide(bone, grid, np.random.default_rng([20, number]))

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
                "bone completion requires a mask: give the folder of masks with -m "
                "(1 bone to keep, 2 region to complete)"
            )
        settings, mask = configuration.preprocessing, as_region(scan.mask)
        population = models = _completions(networks)
        if configuration.needs_other_side or scan.other_side is not None:
            other = isolated_other_side(scan, dataset.scheme, models[0].registration, settings)
            models = _of_person(models, *other)
        outline = Outline.of(scan.image[0], mask, scan.grid, settings)
        found, fits = register(models, outline, scan.side, settings)
        fits, seen = place(models, found, fits, settings)
        in_hu = hounsfield_fault(scan.image[0]) is None
        completed = [m.complete(*s, f, in_hu) for m, s, f in zip(models, seen, fits, strict=True)]
        native = resample_to_native(completed, found.bone, scan.image[0], mask, scan.grid, settings)
        volumes = {"": native.mask, "_raw": native.raw, "_region": native.region, "_ct": native.ct}
        if native.uncertainty is not None:
            volumes["_uncertainty"] = native.uncertainty
        placed = reposition(scan.image[0], scan.mask, completed, found.bone, scan.grid, settings.spacing)
        if placed:
            volumes["_fragments"] = label_map_of(placed, scan.mask, scan.grid)
        surface = native.surface(scan.grid)
        quantile = float(np.mean([float(model.calibration.length_quantile) for model in models]))
        facts = facts_of(native, completed, mask, scan.grid, surface.vertices, quantile)
        conditioned = scan.other_side is not None and not configuration.needs_other_side
        sides = facts_of_other_side(population, models, seen, completed) if conditioned else {}
        doubted = [doubt for fragment in placed for doubt in fragment.doubts]
        said = {
            "rotation_degrees": round(found.rotation_degrees),
            "bone_found_by": scan.bone_found_by or "mask",
            "other_side": sides,
            "fragments": [fragment.facts for fragment in placed],
            "warnings": [
                *ct_warnings(scan.image[0]),
                *scan.doubts,
                *outline.doubts(),
                *found.doubts,
                *found.outside_prototype([fit.pose for fit in fits], settings),
                *doubts(facts),
                *doubts_of_other_side(sides),
                *doubted,
            ],
        }
        return Outputs(
            volumes,
            {"": surface, **{f"_fragment{f.label}": f.surface for f in placed}},
            {"": _to_model(found.bone, completed[0]), **{f"_fragment{f.label}": f.matrix for f in placed}},
            {**facts, **said},
        )

    def score_prepared(self, network: nn.Module, case: Path, number: int) -> Iterable[Score]:
        """Score the whole bone, once with nothing hidden and once with a fifth hidden."""
        assert isinstance(network, CompletionModel)
        return score_whole_bones(network, case, number)

    def draw(
        self,
        scan: Scan,
        outputs: Outputs,
        reference: np.ndarray | None,
        scheme: LabelScheme,
        picture: Path,
        surfaces: bool = False,
    ) -> None:
        assert scan.mask is not None
        completed = CompletedBone(
            scan.image[0],
            scan.mask,
            outputs.volumes[""],
            scan.grid,
            outputs.volumes.get("_uncertainty"),
            None if reference is None else scheme.foreground(reference),
            outputs.volumes.get("_fragments"),
        )
        draw_completion(completed, picture, (*outputs.warnings, *outputs.facts["warnings"]))


def _of_person(models: list[CompletionModel], other: Bone, in_hu: bool) -> list[CompletionModel]:
    """The models with the person's other side: conditioned on it, or fitted to it alone."""
    return [
        model.of_one(*tensors(other, model.device), in_hu)
        if isinstance(model.prior, OtherSide)
        else model.given_other_side(*tensors(other, model.device), in_hu)
        for model in models
    ]


def _completions(networks: Sequence[nn.Module]) -> list[CompletionModel]:
    found = [network for network in networks if isinstance(network, CompletionModel)]
    assert len(found) == len(networks)
    return found


def _to_model(bone: Bone, completed: Completed) -> np.ndarray:
    """(4, 4) float64: patient coordinates to the model's frame, both (x, y, z) in mm."""
    turned = np.eye(4)[[2, 1, 0, 3]]  # (z, y, x) and (x, y, z)
    pose = completed.fit.pose.matrix().numpy()
    return np.asarray(turned @ pose @ np.linalg.inv(bone.to_patient))


def _prior(configuration: BoneConfiguration) -> PriorSettings:
    if configuration.prior is None:
        raise KneeformerError('a configuration of task "completion" needs `prior`: {} takes the defaults')
    return configuration.prior
