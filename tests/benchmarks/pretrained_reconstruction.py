"""Reconstruction from 4 and from 16 subjects, with and without masked pre-training of its transformer.

    python tests/benchmarks/pretrained_reconstruction.py FOLDER --minutes 8 [--subjects 4 16] [--work DIR]

FOLDER is a raw dataset with fully sampled k-space in imagesTr and imagesTs. `3d_mae` learns once, from the
images of all training files; each `3d_vit` learns from all files of so many subjects, drawn by the seed, from
scratch or from its stem and encoder. Every training takes --minutes. All reconstruct imagesTs with
`--simulate`, by the same mask a file. --work is kept, and what is there is not made again. The table gives
means over test files, and the gain by pre-training with 95 % intervals over subjects.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from kneeformer.data.dataset import Dataset
from kneeformer.data.processes import default_processes
from kneeformer.metrics.bootstrap import mean_interval
from kneeformer.paths import FINAL, Folders
from kneeformer.workflows.evaluate import evaluate_folders
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.preprocess import preprocess_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold

NAME = "Dataset904_KSpace"
STARTS = ("scratch", "pretrained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--minutes", type=float, required=True, help="of each training")
    parser.add_argument("--subjects", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--acceleration", type=float, default=4)
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_benchmark_"))
    folders = Folders(work / "raw", work / "preprocessed", work / "results")
    if not folders.plan_file(NAME).is_file():
        folders.raw.mkdir(parents=True, exist_ok=True)
        (folders.raw / NAME).symlink_to(arguments.dataset.resolve())
        plan = plan_dataset(folders, NAME, default_processes(), nobody, device="cpu")
        preprocess_dataset(folders, plan, ["3d_vit"], default_processes(), nobody)
    masked = Request(NAME, "3d_mae", "all", minutes=arguments.minutes)
    weights = masked.folder(folders) / FINAL
    if not weights.is_file():
        train_fold(folders, masked, nobody, nobody)
    for count in arguments.subjects:
        begun = {"scratch": None, "pretrained": weights}
        scores = {start: scores_of(work, count, start, begun[start], arguments) for start in STARTS}
        print_table(count, scores)
    print(f"\nkept in {work}")


def nobody(*_: object) -> None:
    """Watches nothing."""


def scores_of(
    work: Path, count: int, start: str, weights: Path | None, arguments: argparse.Namespace
) -> pd.DataFrame:
    """PSNR and SSIM of each test case, with its subject; made where they are not there."""
    output = work / "predicted" / f"{start}_{count}"
    folders = Folders(work / "raw", work / "preprocessed", work / "results" / output.name)
    tests = folders.raw / NAME / "imagesTs"
    if not (output / "summary.csv").is_file():
        request = Request(
            NAME,
            "3d_vit",
            "all",
            minutes=arguments.minutes,
            subjects=count,
            pretrained_weights=weights,
            overwrite=True,
        )
        train_fold(folders, request, nobody, nobody)
        model = folders.model(NAME, "3d_vit")
        predictor = Predictor.from_model_folder(model, simulate=arguments.acceleration)
        for fault in predict_folder(predictor, Sources(tests), output, nobody):
            raise SystemExit(fault)
        description = Dataset.open(folders.raw / NAME).description
        evaluate_folders(tests, output, description, output, default_processes(), nobody)
    rows = pd.read_csv(output / "summary.csv")
    return rows[rows["region"] == "whole"].sort_values("case")[["subject", "PSNR", "SSIM"]]


def print_table(count: int, scores: dict[str, pd.DataFrame]) -> None:
    for metric in ("PSNR", "SSIM"):
        before, after = (scores[start][metric].to_numpy() for start in STARTS)
        gain, low, high = mean_interval(after - before, list(scores["scratch"]["subject"]))
        means = f"scratch {before.mean():.3f}, pre-trained {after.mean():.3f}"
        print(
            f"{count} subjects, {metric}: {means}, gain {gain:+.3f} ({low:+.3f} to {high:+.3f})", flush=True
        )


if __name__ == "__main__":
    main()
