"""Masked pre-training of reconstructions: the transformer fills in hidden patches of complex images."""

import torch
from torch import nn
from torch.utils.data import Dataset

from kneeformer.config import DatasetSettings, MaskingSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.masked_voxels import MaskedVoxelObjective
from kneeformer.engine.memory import training_state_gb
from kneeformer.engine.training_run import Objective
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.networks.unrolled import MaskedDenoiser
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.tasks.base import Task
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches
from kneeformer.tasks.mri_reconstruction.planning import masked_configurations
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration


class ReconstructionPretraining(Task[ReconstructionConfiguration]):
    """Configuration `3d_mae` of fully sampled k-space: the masked autoencoder of the first denoiser.

    `3d_vit` takes over its stem and encoder.
    """

    needs_labels = False
    stores_labels = False
    shares_batches = True

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, ReconstructionConfiguration]:
        return masked_configurations(fingerprint, budget)

    def needed_gb(
        self, network: nn.Module, configuration: ReconstructionConfiguration, device: torch.device
    ) -> float:
        assert configuration.network is not None
        values = 12 * configuration.network.stem[0].channels
        return training_state_gb(network, values * configuration.training.batch_voxels)

    def network(self, dataset: DatasetSettings, configuration: ReconstructionConfiguration) -> nn.Module:
        settings = configuration.network
        assert settings is not None
        masking, decoder = _masking(configuration), build_decoder(settings, 2)
        return MaskedDenoiser(MaskedAutoencoder(2, settings, masking, decoder))

    def objective(self, dataset: DatasetSettings, configuration: ReconstructionConfiguration) -> Objective:
        normalised = _masking(configuration).target == "normalised"
        return MaskedVoxelObjective(normalised, with_ssim=configuration.training.loss == "ssim_mse")

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


def _masking(configuration: ReconstructionConfiguration) -> MaskingSettings:
    assert configuration.masking is not None
    return configuration.masking
