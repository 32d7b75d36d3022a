"""Choose the weight of a classical solver on training cases, by the metric that it shall be good at."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kneeformer.engine.batch import Batch
from kneeformer.metrics.reconstruction import psnr, ssim
from kneeformer.progress import Progress
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches, measurement_of
from kneeformer.tasks.mri_reconstruction.self_supervision import predicted_share, seen_part
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

_CASES = 8  # slabs of as many training cases
_METRICS = {"PSNR": psnr, "SSIM": ssim}


def tune(
    network: nn.Module, cases: list[Path], configuration: ReconstructionConfiguration, watch: Progress
) -> None:
    """Set the network's weight to the candidate of the highest mean metric, and log the mean of each.

    Where the files are undersampled, the metric is how well withheld samples are predicted.
    """
    assert configuration.solver is not None
    training = configuration.training.model_copy(
        update={"validation_crops": min(_CASES, len(cases)), "batch_size": 1}
    )
    batches = SlabBatches(cases, configuration.model_copy(update={"training": training}), 0, training=False)
    candidates, (name, score) = configuration.solver.candidates, _metric(configuration)
    means = {}
    for done, weight in enumerate(candidates, 1):
        with torch.no_grad():
            network.get_buffer("weight").fill_(weight)
        means[weight] = float(np.mean([score(network, batches[n]) for n in range(len(batches))]))
        watch("Choosing the weight", done, len(candidates))
    best = max(means, key=lambda weight: means[weight])
    network.get_buffer("weight").fill_(best)
    said = ", ".join(f"{weight:g}: {mean:.4g}" for weight, mean in means.items())
    logging.getLogger(__name__).info("%s by weight: %s", name, said)


def _metric(configuration: ReconstructionConfiguration) -> tuple[str, Callable[[nn.Module, Batch], float]]:
    """Its name, and the metric of a batch of one slab."""
    assert configuration.solver is not None
    axes, tuned_for = configuration.preprocessing.phase_encoding_axes, configuration.solver.tuned_for

    def of_withheld(network: nn.Module, batch: Batch) -> float:
        from_end = tuple(axis - 3 for axis in axes)
        found = network(seen_part(batch, from_end), batch["to_patient"])
        return predicted_share(found.coil_images, batch, from_end)

    def against_truth(network: nn.Module, batch: Batch) -> float:
        found = network(measurement_of(batch, axes), batch["to_patient"]).magnitude[0].numpy()
        return _METRICS[tuned_for](batch["target"][0].numpy(), found)

    if configuration.self_supervision is not None:
        return "Share of withheld samples", of_withheld
    return tuned_for, against_truth
