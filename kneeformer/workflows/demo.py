"""The whole of kneeformer on knees it makes up: phantom, plan, preprocess, train, predict, evaluate, draw."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.processes import default_processes
from kneeformer.engine.loop import ProgressEvent
from kneeformer.metrics.summary import Summary
from kneeformer.paths import Folders
from kneeformer.phantoms.knee import write_phantom_dataset
from kneeformer.progress import Progress
from kneeformer.reporting.pictures import draw_segmentation
from kneeformer.workflows.evaluate import evaluate_folders
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.preprocess import preprocess_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold

NAME = "Dataset000_Phantom"
CASES, TESTS = 12, 2
_SHAPE, _SPACING_MM = (20, 64, 64), (4.2, 1.8, 1.8)  # a crop is a whole knee
_BATCH = ("training.batch_size=2",)  # small steps: a slow CPU must make many of them in minutes


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo: scores of test cases, and the paths of its pictures."""

    summary: Summary
    pictures: list[Path]


def run_demo(
    folder: Path, minutes: float, seed: int, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> DemoResult:
    """Run everything in `folder`, which gets the raw, preprocessed and results folders of its own.

    Args:
        minutes: of training; the rest takes about one more.
    """
    folders = Folders(folder / "raw", folder / "preprocessed", folder / "results")
    raw = folders.raw / NAME
    require_writable(folder)
    if not (raw / "dataset.json").is_file():
        watch("Making phantom knees", 0, 1)
        write_phantom_dataset(raw, CASES, seed, test=TESTS, shape=_SHAPE, spacing_mm=_SPACING_MM)
        watch("Making phantom knees", 1, 1)
    plan = plan_dataset(folders, NAME, default_processes(), watch)
    preprocess_dataset(folders, plan, ["3d_vit"], default_processes(), watch)
    request = Request(NAME, "3d_vit", 0, minutes=minutes, seed=seed, overwrite=True, settings=_BATCH)
    train_fold(folders, request, watch_training, watch)
    model = folders.model(NAME, "3d_vit")
    output = folder / "predictions"
    predict_folder(Predictor.from_model_folder(model), raw / "imagesTs", output, watch)
    description = Dataset.open(raw).description
    summary = evaluate_folders(raw / "labelsTs", output, description, output, default_processes(), watch)
    cases = [c.case for c in summary.metric_per_case]
    pictures = [folder / f"{case}.png" for case in cases]
    for case, picture in zip(cases, pictures, strict=True):
        image = raw / "imagesTs" / f"{case}_0000.nrrd"
        draw_segmentation(
            image, raw / "labelsTs" / f"{case}.nrrd", output / f"{case}.nrrd", plan.dataset.scheme, picture
        )
    return DemoResult(summary, [*pictures, model / "fold_0" / "progress.png"])
