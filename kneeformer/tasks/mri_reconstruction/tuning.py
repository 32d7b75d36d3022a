"""Choice of the weight of a classical solver on training cases, by the metric of its settings."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kneeformer.engine.batch import Batch
from kneeformer.metrics.reconstruction import ssim
from kneeformer.progress import Progress
from kneeformer.tasks.mri_reconstruction.batches import SlabBatches, measurement_of
from kneeformer.tasks.mri_reconstruction.self_supervision import predicted_share, seen_part
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

_CASES = 8  # one slab each


def tune(
    network: nn.Module, cases: list[Path], configuration: ReconstructionConfiguration, watch: Progress
) -> None:
    """Set the network's weight to the candidate with the highest metric over slabs, and log all metrics.

    For undersampled files the metric is the predicted share of withheld samples.
    """
    assert configuration.solver is not None
    training = configuration.training.model_copy(
        update={"validation_crops": min(_CASES, len(cases)), "batch_size": 1}
    )
    batches = SlabBatches(cases, configuration.model_copy(update={"training": training}), 0, training=False)
    candidates, (name, of_slab, of_all) = configuration.solver.candidates, _metric(configuration)
    metrics = {}
    for done, weight in enumerate(candidates, 1):
        with torch.no_grad():
            network.get_buffer("weight").fill_(weight)
        metrics[weight] = of_all([of_slab(network, batches[n]) for n in range(len(batches))])
        watch("Choosing the weight", done, len(candidates))
    best = max(metrics, key=lambda weight: metrics[weight])
    network.get_buffer("weight").fill_(best)
    said = ", ".join(f"{weight:g}: {metric:.4g}" for weight, metric in metrics.items())
    logging.getLogger(__name__).info("%s by weight: %s", name, said)


def _metric(
    configuration: ReconstructionConfiguration,
) -> tuple[str, Callable[[nn.Module, Batch], float], Callable[[list[float]], float]]:
    """Name of the metric, its part for a batch of one slab, and the combination of these parts."""
    assert configuration.solver is not None
    axes, tuned_for = configuration.preprocessing.encoded, configuration.solver.tuned_for

    def of_withheld(network: nn.Module, batch: Batch) -> float:
        found = network(seen_part(batch, axes), batch["to_patient"])
        return predicted_share(found.coil_images, batch, axes)

    def found_beside_truth(network: nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        found = network(measurement_of(batch, axes), batch["to_patient"]).magnitude
        return (found / batch["peak"])[0].numpy(), (batch["target"] / batch["peak"])[0].numpy()

    def squared_error(network: nn.Module, batch: Batch) -> float:
        found, truth = found_beside_truth(network, batch)
        return float(np.mean((found - truth).astype(np.float64) ** 2))

    def similarity(network: nn.Module, batch: Batch) -> float:
        found, truth = found_beside_truth(network, batch)
        return ssim(truth, found)

    if configuration.self_supervision is not None:
        return "Share of withheld samples", of_withheld, _mean
    if tuned_for == "SSIM":
        return tuned_for, similarity, _mean
    return tuned_for, squared_error, lambda errors: -10 * math.log10(max(_mean(errors), 1e-20))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
