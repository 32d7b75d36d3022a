"""Reconstruction: magnitude images from undersampled k-space of one or more coils."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.config import Configuration, DatasetSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.memory import training_state_gb
from kneeformer.engine.training_run import Objective
from kneeformer.errors import KneeformerError
from kneeformer.kspace.fastmri_masks import seed_of_file
from kneeformer.kspace.fourier import centre_crop, is_3d, zero_filled_middle
from kneeformer.kspace.sampling import (
    apparent_acceleration,
    draw_mask,
    is_fully_sampled,
    true_acceleration,
)
from kneeformer.labels import LabelScheme
from kneeformer.networks.compressed_sensing import ClassicalReconstruction
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.light_unet import LightUNet, begin_at_zero
from kneeformer.networks.unrolled import TokenDenoiser, UnrolledNetwork
from kneeformer.networks.vit import HybridTransformer
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.progress import Progress
from kneeformer.reporting.reconstruction_sheet import draw_reconstructions
from kneeformer.tasks.base import PredictiveTask
from kneeformer.tasks.cases import Outputs, Scan, StoredCases
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches
from kneeformer.tasks.mri_reconstruction.objective import ReconstructionObjective
from kneeformer.tasks.mri_reconstruction.planning import reconstruction_configurations
from kneeformer.tasks.mri_reconstruction.prepare import (
    SIMULATED,
    across_readout,
    as_mask,
    encoded_along,
    from_magnitudes,
    measured,
    prepare_kspace,
)
from kneeformer.tasks.mri_reconstruction.reconstruct import reconstruct
from kneeformer.tasks.mri_reconstruction.self_supervision import SelfSupervisedObjective
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration
from kneeformer.tasks.mri_reconstruction.tuning import tune
from kneeformer.tasks.mri_reconstruction.unlike_training import unlike_training

_NO_TRUTH = (
    "no whole case is validated: undersampled files hold no truth; training_log.jsonl says how well withheld "
    "samples are predicted"
)


class Reconstruction(PredictiveTask[ReconstructionConfiguration]):
    """Configurations `3d_vit` and `3d_vit_once` (learnt), `zero_filled`, `tv` and `wavelet` (classical)."""

    prepared_by = ("reconstruction_pretraining",)
    needs_labels = False
    stores_labels = False
    shares_batches = True
    outputs: ClassVar[tuple[str, ...]] = ("*", "_real*", "_imag*", ".json", ".png")

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> Mapping[str, Configuration]:
        return reconstruction_configurations(fingerprint, budget)

    def undersampled(
        self, scan: Scan, acceleration: float, name: str, configuration: ReconstructionConfiguration
    ) -> Scan:
        kspace = scan.image if np.iscomplexobj(scan.image) else from_magnitudes(scan.image)
        axes = configuration.preprocessing.encoded
        encoded = encoded_along(kspace, axes)
        acquired = measured(encoded, axes)
        if not is_fully_sampled(acquired):
            raise KneeformerError(
                f"undersampled {apparent_acceleration(acquired):.1f}x itself; omit --simulate"
            )
        mask = draw_mask(configuration.sampling.kind, acquired, acceleration, seed_of_file(name))
        facts = {
            **scan.facts,
            "data": "k-space" if np.iscomplexobj(scan.image) else SIMULATED,
            "nominal_acceleration": acceleration,
            "true_acceleration": true_acceleration(mask, acquired),
        }
        kept = across_readout(np.where(as_mask(mask, axes), encoded, 0), axes)
        if -2 in axes:
            kept = kept[:, None]
        return replace(
            scan, image=kept, facts=facts, fully_sampled=zero_filled_middle(kspace, scan.grid.shape)
        )

    def simulated_acceleration(self, configuration: ReconstructionConfiguration) -> float:
        return configuration.sampling.validation_acceleration

    def needed_gb(
        self, network: nn.Module, configuration: ReconstructionConfiguration, device: torch.device
    ) -> float:
        if configuration.network is None or configuration.cascades is None:
            return training_state_gb(network, 0)
        values = 12 * configuration.network.stem[0].channels
        values += 8 * configuration.cascades.count * configuration.cascades.channels  # at half the resolution
        return training_state_gb(network, values * configuration.training.batch_voxels)

    def network(self, dataset: DatasetSettings, configuration: ReconstructionConfiguration) -> nn.Module:
        if (solver := configuration.solver) is not None:
            return ClassicalReconstruction(solver.kind, solver.weight, solver.iterations)
        settings, cascades = configuration.network, configuration.cascades
        assert settings is not None and cascades is not None
        decoder = build_decoder(settings, 2)
        begin_at_zero([*decoder.modules()][-1])
        strip = -(-configuration.training.crop[1] // settings.token[1])  # as tall as training crops
        transformer = HybridTransformer(2, settings, decoder, strip)
        light = [LightUNet(cascades.channels, cascades.scales) for _ in range(cascades.count - 1)]
        denoisers = [TokenDenoiser(transformer, settings.token), *light]
        return UnrolledNetwork(denoisers, cascades.final_consistency == "hard")

    def begin(
        self,
        network: nn.Module,
        training: StoredCases,
        configuration: ReconstructionConfiguration,
        watch: Progress,
    ) -> None:
        if configuration.solver is not None and configuration.solver.candidates:
            tune(network, training.cases, configuration, watch)

    def objective(self, dataset: DatasetSettings, configuration: ReconstructionConfiguration) -> Objective:
        axes = configuration.preprocessing.encoded
        loss = configuration.training.loss
        if (by_itself := configuration.self_supervision) is not None:
            return SelfSupervisedObjective(loss, by_itself.equivariance, axes)
        return ReconstructionObjective(loss, axes)

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: ReconstructionConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        return SlabBatches(stored.cases, configuration, seed, training)

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: ReconstructionConfiguration,
        output: Path,
    ) -> str:
        return "" if configuration.has_references else _NO_TRUTH

    def predict(
        self,
        networks: Sequence[nn.Module],
        scan: Scan,
        dataset: DatasetSettings,
        configuration: ReconstructionConfiguration,
        probabilities: bool = False,
    ) -> Outputs:
        if not np.iscomplexobj(scan.image):
            raise KneeformerError(
                "magnitude images have no missing samples; undersample them with --simulate 4"
            )
        axes, shape = configuration.preprocessing.encoded, scan.grid.shape
        if -2 in axes and not is_3d(scan.image):
            raise KneeformerError(
                "a stack of slices, but the plan is for 3D scans; plan a dataset of slices separately"
            )
        prepared = prepare_kspace(scan, None, configuration, dataset.scheme)
        volume, complex_image = (
            centre_crop(across_readout(found, axes), shape)
            for found in reconstruct(networks, prepared, configuration)
        )
        doubts = unlike_training(measured(prepared.image, axes), shape, configuration)
        if not _is_oriented(scan):
            doubts = (*doubts, "its file gives no patient orientation; axes are those of the scanner")
        return Outputs(
            {"": volume},
            facts={**scan.facts, **_supervision(configuration)},
            shown={"zero-filled": zero_filled_middle(scan.image, shape)},
            warnings=doubts,
            description=_description(scan),
            complex_image=complex_image,
        )

    def draw(
        self,
        scan: Scan,
        outputs: Outputs,
        reference: np.ndarray | None,
        scheme: LabelScheme,
        picture: Path,
        surfaces: bool = False,
    ) -> None:
        found = {**outputs.shown, "reconstructed": outputs.volumes[""]}
        draw_reconstructions(found, scan.grid, scan.fully_sampled, picture, _is_oriented(scan))


def _supervision(configuration: ReconstructionConfiguration) -> dict[str, str]:
    """The entry of CASE.json and of the report that a network or a weight learnt without references."""
    by_itself = configuration.self_supervision is not None
    return {"supervision": "self-supervised: learnt from undersampled files alone"} if by_itself else {}


def _is_oriented(scan: Scan) -> bool:
    """True where the grid shows how the patient lay."""
    return scan.facts.get("orientation") != "unknown"


def _description(scan: Scan) -> str:
    """The line in headers of reconstructions: caveats."""
    simulated = [SIMULATED] if scan.facts.get("data") == SIMULATED else []
    return "; ".join([*simulated, *([] if _is_oriented(scan) else ["orientation unknown"])])
