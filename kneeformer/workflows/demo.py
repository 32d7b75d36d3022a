"""A run of everything on synthetic data: segment knees, complete a tibia, reconstruct a knee."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.images import read_image
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import default_processes
from kneeformer.engine.log import read_log
from kneeformer.engine.loop import ProgressEvent
from kneeformer.metrics.summary import Summary
from kneeformer.paths import Folders
from kneeformer.phantoms.bone import write_bone_dataset
from kneeformer.phantoms.knee import write_phantom_dataset
from kneeformer.plans import Plan
from kneeformer.progress import Progress
from kneeformer.reporting.overlays import draw_overlay
from kneeformer.reporting.report_page import Page
from kneeformer.workflows.demo_reconstruction import KSPACE, reconstruct_knee
from kneeformer.workflows.evaluate import evaluate_folders
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.outputs import PREVIEW
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.preprocess import preprocess_dataset
from kneeformer.workflows.report import prediction_sections, publish
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold

_SEGMENTED, _COMPLETED, _RECONSTRUCTED = "segmented_knees", "completed_tibia", "reconstructed_knee"
KNEES, TIBIAE = "Dataset000_PhantomKnee", "Dataset001_PhantomTibia"
STEPS_PER_EPOCH, EPOCHS = 40, 5
_KNEES, _TEST_KNEES = 12, 2
_SHAPE, _SPACING_MM = (20, 64, 64), (4.2, 1.8, 1.8)  # a crop is a whole knee
_BONES, _BONE_SPACING_MM = 6, (2.5, 1.5, 1.5)
_SHORT = (  # small steps: a slow CPU needs a few minutes for all
    "training.batch_size=2",
    f"training.steps_per_epoch={STEPS_PER_EPOCH}",
    f"training.epochs={EPOCHS}",
)


@dataclass(frozen=True)
class DemoResult:
    """Scores of the test knees, the number of training steps, and the paths of pictures and report."""

    summary: Summary
    steps: int
    pictures: list[Path]
    report: Path


def run_demo(
    folder: Path, minutes: float, seed: int, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> DemoResult:
    """Run everything in `folder`, with raw, preprocessed and results folders of its own.

    Args:
        minutes: time limit of each training.
    """
    require_writable(folder)
    folders = Folders(folder / "raw", folder / "preprocessed", folder / "results")
    summary, steps, pictures = _segment_knees(folders, folder, minutes, seed, watch_training, watch)
    pictures.append(_complete_tibia(folders, folder, seed, watch))
    reconstructed = reconstruct_knee(folders, folder / _RECONSTRUCTED, minutes, seed, watch)
    if reconstructed is not None:
        pictures.append(reconstructed)
    report = folder / "report.html"
    publish(_page(folders, folder, steps, watch), report)
    return DemoResult(summary, steps, pictures, report)


def _page(folders: Folders, folder: Path, steps: int, watch: Progress) -> Page:
    knees, tibiae = (folders.raw / dataset / "imagesTs" for dataset in (KNEES, TIBIAE))
    sections = [
        *prediction_sections(folder / _SEGMENTED, knees, None, watch, most=1),
        *prediction_sections(folder / _COMPLETED, tibiae, None, watch),
    ]
    if (folder / _RECONSTRUCTED).is_dir():
        kspace = folders.raw / KSPACE / "imagesTs"
        sections += prediction_sections(folder / _RECONSTRUCTED, kspace, None, watch)
    facts = {"Data": "synthetic", "Training": f"{steps} of {EPOCHS * STEPS_PER_EPOCH} steps"}
    return Page("Segmented knees, a completed tibia and a reconstructed knee", "Demo", facts, sections)


def _segment_knees(
    folders: Folders,
    folder: Path,
    minutes: float,
    seed: int,
    watch_training: Callable[[ProgressEvent], None],
    watch: Progress,
) -> tuple[Summary, int, list[Path]]:
    raw = folders.raw / KNEES
    if not (raw / "dataset.json").is_file():
        watch("Making phantom knees", 0, 1)
        write_phantom_dataset(raw, _KNEES, seed, test=_TEST_KNEES, shape=_SHAPE, spacing_mm=_SPACING_MM)
        watch("Making phantom knees", 1, 1)
    plan = _planned(folders, KNEES, "3d_vit", watch)
    request = Request(KNEES, "3d_vit", 0, minutes=minutes, seed=seed, overwrite=True, settings=_SHORT)
    train_fold(folders, request, watch_training, watch)
    model = folders.model(KNEES, "3d_vit")
    output = folder / _SEGMENTED
    predict_folder(Predictor.from_model_folder(model), Sources(raw / "imagesTs"), output, watch)
    description = Dataset.open(raw).description
    summary = evaluate_folders(raw / "labelsTs", output, description, output, default_processes(), watch)
    fold = request.folder(folders)
    steps = read_log(fold / "training_log.jsonl")[-1]["step"]
    cases = [scored.case for scored in summary.metric_per_case]
    pictures = [_draw(plan, raw, output, case, folder / f"{case}.png") for case in cases]
    return summary, steps, [*pictures, fold / "progress.png"]


def _complete_tibia(folders: Folders, folder: Path, seed: int, watch: Progress) -> Path:
    """Complete a broken phantom tibia and return the path of its picture."""
    raw = folders.raw / TIBIAE
    if not (raw / "dataset.json").is_file():
        watch("Making phantom tibiae", 0, 1)
        write_bone_dataset(raw, _BONES, seed, test=1, spacing_mm=_BONE_SPACING_MM)
        watch("Making phantom tibiae", 1, 1)
    _planned(folders, TIBIAE, "3d_gp", watch)
    request = Request(TIBIAE, "3d_gp", "all", seed=seed, overwrite=True)
    train_fold(folders, request, lambda _: None, watch)
    predictor = Predictor.from_model_folder(folders.model(TIBIAE, "3d_gp"))
    output = folder / _COMPLETED
    predict_folder(predictor, Sources(raw / "imagesTs", raw / "masksTs"), output, watch)
    (picture,) = (file for file in output.glob("*.png") if file.name != PREVIEW)
    return picture


def _planned(folders: Folders, dataset: str, configuration: str, watch: Progress) -> Plan:
    plan = plan_dataset(folders, dataset, default_processes(), watch)
    preprocess_dataset(folders, plan, [configuration], default_processes(), watch)
    return plan


def _draw(plan: Plan, raw: Path, output: Path, case: str, picture: Path) -> Path:
    image, label = raw / "imagesTs" / f"{case}_0000.nrrd", raw / "labelsTs" / f"{case}.nrrd"
    reference, found = (read_label_map(path).array for path in (label, output / f"{case}.nrrd"))
    draw_overlay(read_image(image), found, plan.dataset.scheme, picture, reference, surfaces=True)
    return picture
