"""Registration: bones brought to a prototype that is learnt from them."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.data.files import write_json
from kneeformer.errors import KneeformerError
from kneeformer.networks.registration import DISTANCE, Registration
from kneeformer.plan import BoneConfiguration, DatasetSettings
from kneeformer.planning.bones import bone_configuration
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.tasks.base import PreparatoryTask, StoredCases
from kneeformer.training.bones import stored_bone
from kneeformer.training.groupwise import fit_prototype
from kneeformer.training.loop import Batch, Lesson


class BoneRegistration(PreparatoryTask[BoneConfiguration]):
    """Configuration `3d_ags`: direct registration of each bone, jointly with the prototype."""

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, BoneConfiguration]:
        return {"3d_ags": bone_configuration(fingerprint, budget, "registration", None)}

    def network(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> nn.Module:
        grid = configuration.preprocessing
        return RegistrationStage(Registration(grid.grid, grid.spacing, configuration.registration))

    def begin(self, network: nn.Module, training: StoredCases, configuration: BoneConfiguration) -> None:
        assert isinstance(network, RegistrationStage)
        device = network.registration.prototype.device
        fit_prototype(network.registration, [stored_bone(case, device) for case in training.cases])

    def lesson(self, dataset: DatasetSettings, configuration: BoneConfiguration) -> Lesson:
        raise KneeformerError("direct registration takes no steps: leave training.epochs at 0")

    def batches(
        self,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: BoneConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        raise KneeformerError("direct registration takes no steps: leave training.epochs at 0")

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: BoneConfiguration,
        output: Path,
    ) -> str:
        assert isinstance(network, RegistrationStage)
        device = network.registration.prototype.device
        found = {}
        for case in validation.cases:
            image = stored_bone(case, device)
            fit = network.registration(image, torch.ones_like(image[DISTANCE], dtype=torch.bool))
            found[case.name] = {
                "residual_mm": fit.residual_mm,
                "inliers": fit.inliers,
                "scale": fit.pose.scale,
            }
        write_json(output / "registration.json", found)
        residuals = sorted(f["residual_mm"] for f in found.values())
        return (
            f"{len(found)} bones registered to the prototype: half of each surface lies within "
            f"{residuals[len(residuals) // 2]:.2f} mm (median bone), {residuals[-1]:.2f} mm (worst)"
        )


class RegistrationStage(nn.Module):
    """A registration under the name that it has in the stages after it."""

    def __init__(self, registration: Registration) -> None:
        super().__init__()
        self.registration = registration
