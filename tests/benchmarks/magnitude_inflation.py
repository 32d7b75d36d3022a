"""How much better methods look on k-space that is simulated from magnitudes than on the raw data themselves.

    python tests/benchmarks/magnitude_inflation.py FOLDER [--simulate 4] [--slices 6] [--model FOLDER]

Of each fully sampled file in FOLDER a few slices are undersampled twice: the raw samples, and those that the
magnitude image of all samples has. Both are compared with that image. Of files of one coil only phase, noise
and padding differ; of several coils the simulation loses their encoding as well.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kneeformer.config import DatasetSettings
from kneeformer.data.images import read_image
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import zero_filled
from kneeformer.labels import LabelScheme
from kneeformer.metrics.reconstruction import psnr, ssim
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import case_fingerprint, dataset_fingerprint
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.mri_reconstruction.planning import reconstruction_configurations
from kneeformer.tasks.mri_reconstruction.task import Reconstruction
from kneeformer.workflows.predict import Predictor

Method = tuple[Sequence[torch.nn.Module], Any]  # networks and configuration

TASK = Reconstruction()
DATASET = DatasetSettings(name="D", channel_names=("kspace",), labels={}, file_ending=".h5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--simulate", type=float, default=4.0)
    parser.add_argument("--slices", type=int, default=6, help="of each file, evenly spaced")
    parser.add_argument("--model", type=Path, help="a trained fold's model, as .../kfPlans__3d_vit")
    arguments = parser.parse_args()
    scores = defaultdict(list)
    files = sorted(arguments.folder.glob("*.h5"))
    for file in files:
        raw = few_slices(file, arguments.slices)
        truth = zero_filled(raw.image, raw.grid.shape)
        magnitudes = replace(raw, image=truth[None])
        for method, (networks, settings) in methods(raw, arguments.model).items():
            for scan, kind in ((raw, "raw"), (magnitudes, "magnitudes")):
                fast = TASK.undersampled(scan, arguments.simulate, file.name, settings)
                found = TASK.predict(networks, fast, DATASET, settings).volumes[""]
                scores[method, kind].append((psnr(truth, found), ssim(truth, found)))
    print(f"{len(files)} files, {arguments.slices} slices each, {arguments.simulate:g}x: PSNR in dB, SSIM")
    for method in dict.fromkeys(method for method, _ in scores):
        raw, simulated = (np.mean(scores[method, kind], 0) for kind in ("raw", "magnitudes"))
        told = "  ".join(f"{p:.2f} {s:.3f}" for p, s in (raw, simulated))
        print(f"{method:12s} raw, simulated: {told}  inflation: {{:+.2f}} {{:+.3f}}".format(*simulated - raw))


def few_slices(file: Path, count: int) -> Scan:
    """Some slices of a file, evenly spaced."""
    image = read_image(file)
    slices, rows, columns = image.grid.shape
    chosen = ((np.arange(count) + 0.5) * slices / count).astype(int)
    return Scan(image.array[:, chosen], Grid((count, rows, columns), image.grid.spacing))


def methods(scan: Scan, model: Path | None) -> dict[str, Method]:
    """The classical methods as they are planned for a scan, and the network of a model."""
    facts, sample = case_fingerprint(scan.image, None, scan.grid, LabelScheme.from_json({}, None), 0)
    planned = reconstruction_configurations(dataset_fingerprint({"a": facts}, [sample], ()), Budget("cpu", 8))
    found: dict[str, Method] = {
        name: ([TASK.network(DATASET, settings)], settings)
        for name, settings in planned.items()
        if settings.predicts_untrained
    }
    if model is not None:
        trained = Predictor.from_model_folder(model)
        found["3d_vit"] = (trained.networks, trained.configuration)
    return found


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
