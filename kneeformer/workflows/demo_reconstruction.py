"""The demo's reconstruction: a phantom knee from a quarter of its k-space, with and without a network."""

import importlib.util
import logging
from pathlib import Path

from kneeformer.data.dataset import Case
from kneeformer.data.images import read_image
from kneeformer.data.processes import default_processes
from kneeformer.kspace.fourier import zero_filled
from kneeformer.metrics.reconstruction import psnr
from kneeformer.paths import Folders
from kneeformer.phantoms.kspace import write_kspace_dataset
from kneeformer.progress import Progress
from kneeformer.reporting.reconstruction_sheet import draw_reconstructions
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.preprocess import preprocess_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold

KSPACE = "Dataset002_PhantomKSpace"
_CASES, _SHAPE, _ACCELERATION = 6, (8, 64, 64), 4.0
_METHODS = {"zero_filled": "zero-filled", "tv": "total variation", "3d_vit": "3d_vit"}
_SHORT = ("training.epochs=1", "training.steps_per_epoch=120", "training.validation_crops=2")


def reconstruct_knee(
    folders: Folders, output: Path, minutes: float, seed: int, watch: Progress
) -> Path | None:
    """Train a network on phantom k-space, reconstruct a test scan, and return the path of its picture.

    Without the packages that k-space needs, log a line and return None.
    """
    if importlib.util.find_spec("h5py") is None:
        logging.getLogger(__name__).warning("no knee is reconstructed: pip install 'kneeformer[kspace]'")
        return None
    raw = folders.raw / KSPACE
    if not (raw / "dataset.json").is_file():
        watch("Making phantom k-space", 0, 1)
        write_kspace_dataset(raw, _CASES, seed, test=1, shape=_SHAPE)
        watch("Making phantom k-space", 1, 1)
    plan = plan_dataset(folders, KSPACE, default_processes(), watch)
    preprocess_dataset(folders, plan, ["3d_vit"], default_processes(), watch)
    request = Request(KSPACE, "3d_vit", "all", minutes=minutes, seed=seed, overwrite=True, settings=_SHORT)
    train_fold(folders, request, lambda _: None, watch)
    (file,) = (raw / "imagesTs").glob("*.h5")
    truth, found = read_image(file), {}
    reference = zero_filled(truth.array, truth.grid.shape)
    for method, name in _METHODS.items():
        if method == "3d_vit":
            predictor = Predictor.from_model_folder(folders.model(KSPACE, method), simulate=_ACCELERATION)
        else:
            predictor = Predictor.untrained(plan, method, simulate=_ACCELERATION)
        predictor.predict_case(Case(file.stem, (file,)), output)  # the network's, the last one, stays
        volume = read_image(output / f"{file.stem}.nii.gz").array
        found[f"{name}, {psnr(reference, volume):.1f} dB"] = volume
    picture = output / f"{file.stem}.png"
    draw_reconstructions(found, truth.grid, reference, picture, oriented=False)
    return picture
