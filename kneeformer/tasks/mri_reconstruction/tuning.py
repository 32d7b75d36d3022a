"""Choose the weight of a classical solver on training cases, by the metric that it shall be good at."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kneeformer.metrics.reconstruction import psnr, ssim
from kneeformer.progress import Progress
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches, measurement_of
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

_CASES = 8  # slabs of as many training cases
_METRICS = {"PSNR": psnr, "SSIM": ssim}


def tune(
    network: nn.Module, cases: list[Path], configuration: ReconstructionConfiguration, watch: Progress
) -> None:
    """Set the network's weight to the candidate of the highest mean metric, and log the mean of each."""
    assert configuration.solver is not None
    training = configuration.training.model_copy(
        update={"validation_crops": min(_CASES, len(cases)), "batch_size": 1}
    )
    batches = SlabBatches(cases, configuration.model_copy(update={"training": training}), 0, training=False)
    metric, candidates = _METRICS[configuration.solver.tuned_for], configuration.solver.candidates
    means = {}
    for done, weight in enumerate(candidates, 1):
        with torch.no_grad():
            network.get_buffer("weight").fill_(weight)
        values = []
        for number in range(len(batches)):
            batch = batches[number]
            operator = measurement_of(batch, configuration.preprocessing.phase_encoding_axes)
            found = network(operator, batch["to_patient"]).magnitude[0].numpy()
            values.append(metric(batch["target"][0].numpy(), found))
        means[weight] = float(np.mean(values))
        watch("Choosing the weight", done, len(candidates))
    best = max(means, key=lambda weight: means[weight])
    network.get_buffer("weight").fill_(best)
    said = ", ".join(f"{weight:g}: {mean:.4g}" for weight, mean in means.items())
    logging.getLogger(__name__).info("%s by weight: %s", configuration.solver.tuned_for, said)
