"""The task of registering bones to a prototype that is estimated from them."""

import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kneeformer.config import DatasetSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.training_run import Objective
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.progress import Progress
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.locnet import LocNet
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.registration import Fit, Registration, first_guess
from kneeformer.shape_models.settings import LocNetSettings
from kneeformer.tasks.bone_completion.batches import Posed, bone_batches, pose_of, stored_bone
from kneeformer.tasks.bone_completion.bone_orientation import rotation_degrees
from kneeformer.tasks.bone_completion.bone_task import BoneTask
from kneeformer.tasks.bone_completion.planning import bone_configuration, stepwise
from kneeformer.tasks.bone_completion.registration_objectives import PoseObjective, SimilarityObjective
from kneeformer.tasks.bone_completion.registration_review import review_registration
from kneeformer.tasks.bone_completion.same_bones import same_bones
from kneeformer.tasks.bone_completion.settings import (
    BoneConfiguration,
    BoneGridSettings,
    BoneLearningSettings,
)
from kneeformer.tasks.bone_completion.training_sides import wrongly_mirrored
from kneeformer.tasks.cases import StoredCases

_log = logging.getLogger(__name__)


class BoneRegistration(BoneTask):
    """Configurations `3d_ags`, `3d_stn` and `3d_stn_robust`.

    `3d_ags` estimates the poses of bones directly, together with the prototype. `3d_stn` is a spatial
    transformer that learns by image similarity, together with the prototype. `3d_stn_robust` is one that
    learns the known poses of partly hidden bones, on the prototype of `3d_ags`.
    """

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, BoneConfiguration]:
        direct = bone_configuration(fingerprint, budget, "registration", None)
        transformer = direct.registration.model_copy(update={"locnet": LocNetSettings()})
        learning = BoneLearningSettings()
        robust = {
            "inherits_from": "3d_ags",
            "previous_stage": "3d_ags",
            "registration": transformer,
            "learning": learning,
            "training": stepwise(direct.training, len(fingerprint.cases), budget, "points"),
        }
        whole = {
            "inherits_from": "3d_ags",
            "registration": transformer,
            "learning": learning.model_copy(update={"hidden_probability": 0.0}),
            "training": stepwise(direct.training, len(fingerprint.cases), budget, "dssim"),
        }
        return {
            "3d_ags": direct,
            "3d_stn": direct.model_copy(update=whole),
            "3d_stn_robust": direct.model_copy(update=robust),
        }

    def network(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> nn.Module:
        grid, settings = configuration.preprocessing, configuration.registration
        jointly = configuration.training.loss == "dssim"
        registration = Registration(grid.grid, grid.spacing, settings)
        registration.prototype.requires_grad_(jointly)
        if jointly or settings.locnet is None:
            return RegistrationStage(registration)
        return RegistrationStage(registration, LocNet(grid.grid, settings.locnet))

    def begin(
        self, network: nn.Module, training: StoredCases, configuration: BoneConfiguration, watch: Progress
    ) -> None:
        registration = _stage(network).registration
        if registration.prototype.any():  # of the previous stage
            _stage(network).take_teacher()
            return
        bones = [stored_bone(case, registration.prototype.device) for case in training.cases]
        if registration.prototype.requires_grad:
            registration.prototype.data.copy_(torch.stack(bones).mean(0))
        else:
            poses = fit_prototype(registration, bones, partial(watch, "Estimating the prototype"))
            _warn_of_same(registration, training, bones, poses)
            _warn_of_rotated(registration, training.cases, bones)
            _warn_of_sides(registration, training, bones, configuration.preprocessing)

    def objective(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> Objective:
        return SimilarityObjective() if configuration.training.loss == "dssim" else PoseObjective()

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: BoneConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        stage = _stage(network)
        device = stage.registration.prototype.device
        bones = [stored_bone(case) for case in stored.cases]
        posed = [Posed(bone, pose_of(stage.taught, bone, device)) for bone in bones]
        return bone_batches(posed, configuration, seed, training)

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: BoneConfiguration,
        output: Path,
    ) -> str:
        return review_registration(_stage(network).registration, validation.cases, output)


def _warn_of_same(
    registration: Registration, training: StoredCases, bones: list[Tensor], poses: list[Pose]
) -> None:
    names = [case.name for case in training.cases]
    people = [training.whose[name].person if name in training.whose else name for name in names]
    seen = torch.stack([registration.registered(b, p) for b, p in zip(bones, poses, strict=True)])
    for one, other, mm in same_bones(seen, registration.prototype, people):
        _log.warning(
            "%s and %s: one bone, within %.2f mm, under the names of two people, which makes the model too "
            "sure; remove one, or name both as one subject in `subjects` of dataset.json",
            names[one],
            names[other],
            mm,
        )


def _warn_of_rotated(registration: Registration, cases: list[Path], bones: list[Tensor]) -> None:
    for case, bone in zip(cases, bones, strict=True):
        if degrees := rotation_degrees(registration, bone):
            _log.warning(
                "%s: rotated by %.0f degrees relative to the other training bones, which degrades the model; "
                "correct the direction in the header of its scan and label map, or remove the case",
                case.name,
                degrees,
            )


def _warn_of_sides(
    registration: Registration, training: StoredCases, bones: list[Tensor], settings: BoneGridSettings
) -> None:
    sides = [
        training.whose[case.name].side if case.name in training.whose else None for case in training.cases
    ]
    mirrored = [settings.mirrors(side) for side in sides]
    for n in wrongly_mirrored(registration, bones, mirrored, settings.mirrored_axis):
        _log.warning(
            "%s: its name or dataset.json says %s, but it fits the bones of the other side as it is, not "
            "mirrored, which degrades the model; correct `sides` in dataset.json and preprocess again",
            training.cases[n].name,
            sides[n],
        )


class RegistrationStage(nn.Module):
    """A registration, under the name that later stages give it.

    Attributes:
        teacher: localisation network of the previous stage; it registers whole bones for the network that
            learns to register their visible parts.
    """

    def __init__(self, registration: Registration, teacher: LocNet | None = None) -> None:
        super().__init__()
        self.registration = registration
        self.teacher = None if teacher is None else teacher.requires_grad_(False)

    def take_teacher(self) -> None:
        """Take the network of the previous stage as the teacher; an untrained one gives the identity."""
        if self.teacher is not None and self.registration.locnet is not None:
            self.teacher.load_state_dict(self.registration.locnet.state_dict())

    def taught(self, image: Tensor, known: Tensor) -> Fit:
        """The teacher's pose of a whole bone."""
        fit: Fit = self.registration(image, known, first_guess(self.teacher, image, known))
        return fit


def _stage(network: nn.Module) -> RegistrationStage:
    assert isinstance(network, RegistrationStage)
    return network
