"""Masked pre-training: the transformer learns to fill in hidden patches of images without labels."""

from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from kneeformer.config import AugmentationSettings, CropConfiguration, DatasetSettings, MaskingSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import MaskedBatches, crop_batches
from kneeformer.engine.masked_voxels import MaskedVoxelObjective
from kneeformer.engine.training_run import Objective
from kneeformer.errors import KneeformerError
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.hybrid import hybrid_transformer
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.crop_task import CropTask
from kneeformer.tasks.masked_pretraining.review import Review


class MaskedPretraining(CropTask):
    """Configuration `3d_mae`: the masked autoencoder around the stem and encoder of `3d_vit`."""

    needs_labels = False
    stores_labels = False

    def configurations(
        self, fingerprint: Fingerprint, dataset: DatasetSettings, budget: Budget
    ) -> dict[str, CropConfiguration]:
        hybrid = hybrid_transformer(fingerprint, dataset, budget)
        training = hybrid.training.model_copy(
            update={
                "epochs": 2 * hybrid.training.epochs,
                "averaged_share": 0.0,
                "loss": "mse",
                "foreground_share": 0.0,
                "fine_tuning": None,
            }
        )
        spatial = hybrid.augmentation
        masked = hybrid.model_copy(
            update={
                "task": "pretraining",
                "inherits_from": "3d_vit" if fingerprint.labelled else None,
                "previous_stage": None,
                "network": hybrid.network.model_copy(update={"drop_path": 0.0}),
                "training": training,
                "augmentation": AugmentationSettings(
                    mirror_axes=spatial.mirror_axes,
                    rotation_degrees=spatial.rotation_degrees,
                    scale=spatial.scale,
                    noise_probability=0,
                    blur_probability=0,
                    low_resolution_probability=0,
                    position_jitter_mm=0,
                ),
                "masking": MaskingSettings(),
                "teacher": None,
            }
        )
        return {"3d_mae": masked}

    def network(self, dataset: DatasetSettings, configuration: CropConfiguration) -> nn.Module:
        channels, settings = len(dataset.channel_names), configuration.network
        decoder = build_decoder(settings, channels)
        return MaskedAutoencoder(channels, settings, _masking(configuration), decoder)

    def objective(self, dataset: DatasetSettings, configuration: CropConfiguration) -> Objective:
        normalised = _masking(configuration).target == "normalised"
        return MaskedVoxelObjective(normalised, with_ssim=configuration.training.loss == "ssim_mse")

    def batches(
        self,
        network: nn.Module,
        stored: StoredCases,
        dataset: DatasetSettings,
        configuration: CropConfiguration,
        seed: int,
        training: bool,
    ) -> Dataset[Batch]:
        crops = crop_batches(stored.cases, None, configuration, seed, training)
        thick_axis = configuration.preprocessing.thick_axis
        return MaskedBatches(crops, configuration.network.token, _masking(configuration), thick_axis)

    def review(
        self,
        network: nn.Module,
        training: StoredCases,
        validation: StoredCases,
        configuration: CropConfiguration,
        output: Path,
    ) -> str:
        persons = {name: whose.person for name, whose in validation.whose.items()}
        return Review(network, training.cases, validation.cases, persons, configuration, output).run()


def _masking(configuration: CropConfiguration) -> MaskingSettings:
    if configuration.masking is None:
        raise KneeformerError('a configuration of task "pretraining" needs `masking`: {} takes the defaults')
    return configuration.masking
