"""Registration: bones brought to a prototype that is learnt from them."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.networks.registration import Registration
from kneeformer.plan import BoneConfiguration, BoneLearningSettings, DatasetSettings, LocNetSettings
from kneeformer.planning.bones import bone_configuration, stepwise
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.tasks.base import PreparatoryTask, StoredCases
from kneeformer.training.bones import bone_batches, stored_bone
from kneeformer.training.groupwise import fit_prototype
from kneeformer.training.locating import LikenessLesson, PlacesLesson
from kneeformer.training.loop import Batch, Lesson
from kneeformer.training.registration_review import review_registration


class BoneRegistration(PreparatoryTask[BoneConfiguration]):
    """Configurations `3d_ags`, `3d_stn` and `3d_stn_robust`.

    `3d_ags` registers each bone directly, jointly with the prototype. `3d_stn` is a spatial transformer that
    learns by likeness to the prototype, jointly with it. `3d_stn_robust` is one that learns from the known
    poses of partly hidden bones, on the prototype of `3d_ags`.
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
            "training": stepwise(direct.training, budget, "points"),
        }
        whole = {
            "inherits_from": "3d_ags",
            "registration": transformer,
            "learning": learning.model_copy(update={"hidden_chance": 0.0}),
            "training": stepwise(direct.training, budget, "dssim"),
        }
        return {
            "3d_ags": direct,
            "3d_stn": direct.model_copy(update=whole),
            "3d_stn_robust": direct.model_copy(update=robust),
        }

    def network(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> nn.Module:
        grid = configuration.preprocessing
        stage = RegistrationStage(Registration(grid.grid, grid.spacing, configuration.registration))
        stage.registration.prototype.requires_grad_(configuration.training.loss == "dssim")
        return stage

    def begin(self, network: nn.Module, training: StoredCases, configuration: BoneConfiguration) -> None:
        registration = _registration(network)
        if registration.prototype.any():  # the stage before has learnt it
            return
        bones = [stored_bone(case, registration.prototype.device) for case in training.cases]
        if registration.prototype.requires_grad:
            registration.prototype.data.copy_(torch.stack(bones).mean(0))
        else:
            fit_prototype(registration, bones)

    def lesson(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> Lesson:
        return LikenessLesson() if configuration.training.loss == "dssim" else PlacesLesson()

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: BoneConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        return bone_batches(_registration(network), stored.cases, configuration, seed, training)

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: BoneConfiguration,
        output: Path,
    ) -> str:
        return review_registration(_registration(network), validation.cases, output)


class RegistrationStage(nn.Module):
    """A registration under the name that it has in the stages after it."""

    def __init__(self, registration: Registration) -> None:
        super().__init__()
        self.registration = registration


def _registration(network: nn.Module) -> Registration:
    assert isinstance(network, RegistrationStage)
    return network.registration
