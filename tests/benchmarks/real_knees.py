"""Reconstruction of real knees at 4x, by subjects: the network against zero filling, TV and wavelets.

    python tests/benchmarks/real_knees.py FOLDER --minutes 7 [--folds 0 1 2] [--acceleration 4] [--work DIR]

FOLDER holds a file KNEE.npz for each subject, with `abs_real` and `abs_imag`, (slices, rows, columns): moduli
of the real and the imaginary part of its images. Signs are lost, and so the data are magnitudes: k-space is
simulated from them, which flatters every method. Their spacing is unknown, 0.6 mm here. Of three folds, each
holds out every third knee; the network, and the weights of TV and wavelets, learn from the others. Fold 0
alone is the default, and all three have every knee held out once. --work is kept, and what is there is not
made again. The table gives means over the held-out knees, and the gain of `3d_vit` over the best other method
of each, with 95 % intervals over subjects.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from kneeformer.data.files import write_json
from kneeformer.data.images import write_image
from kneeformer.geometry.grid import Grid
from kneeformer.metrics.bootstrap import mean_interval

NAME, SPACING_MM = "Dataset903_RealKnees", (0.6, 0.6, 0.6)
FOLDS = 3
METHODS = ("3d_vit", "tv", "wavelet", "zero_filled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", required=True, help="of the network's training")
    parser.add_argument("--acceleration", default="4")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], choices=range(FOLDS))
    parser.add_argument("--slices", type=int, help="of each knee, to see that all works (default: all)")
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_benchmark_"))
    folds = [scores_of_fold(fold, work / f"fold_{fold}", arguments) for fold in arguments.folds]
    scores = pd.concat(folds)
    print(f"\nkept in {work}\n{len(scores)} knees, simulated from magnitudes, {arguments.acceleration}x")
    for metric in ("PSNR", "SSIM"):
        print_table(scores[metric], metric)


def scores_of_fold(fold: int, work: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """PSNR and SSIM by each method, of the knees that a fold holds out."""
    if not (work / "raw" / NAME / "dataset.json").is_file():
        write_dataset(arguments.folder, work / "raw" / NAME, fold, arguments.slices)
    if not (work / "preprocessed" / NAME / "kfPlans.json").is_file():
        command(work, "kf_plan_and_preprocess", "-d", NAME, "-c", "3d_vit")
    scores = {method: scores_of(method, work, arguments) for method in METHODS}
    return pd.concat(scores, axis=1).swaplevel(axis=1)


def write_dataset(source: Path, raw: Path, fold: int, slices: int | None) -> None:
    """Magnitudes of each knee, those that the fold holds out in imagesTs."""
    knees = sorted(source.glob("*.npz"))
    held_out = knees[fold::FOLDS]
    for knee in knees:
        with np.load(knee) as parts:
            image = np.hypot(parts["abs_real"].astype(np.float32), parts["abs_imag"])[:slices]
        folder = raw / ("imagesTs" if knee in held_out else "imagesTr")
        folder.mkdir(parents=True, exist_ok=True)
        z, y, x = image.shape
        write_image(folder / f"{knee.stem}_0000.nii.gz", image, Grid((z, y, x), SPACING_MM))
    description = {
        "task": "reconstruction",
        "channel_names": {"0": "magnitude"},
        "labels": {},
        "numTraining": len(knees) - len(held_out),
        "file_ending": ".nii.gz",
    }
    write_json(raw / "dataset.json", description)


def scores_of(method: str, work: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """PSNR and SSIM of each test case, indexed by its name; made where they are not there."""
    tests, output = work / "raw" / NAME / "imagesTs", work / "predicted" / method
    if not (output / "summary.csv").is_file():
        learnt = [] if method == "zero_filled" else ["-f", "all"]
        if learnt:
            words = ["--minutes", arguments.minutes] if method == "3d_vit" else []
            command(work, "kf_train", NAME, method, "all", "--overwrite", *words)
        where = ["-i", str(tests), "-o", str(output), "-d", NAME, "-c", method, *learnt]
        command(work, "kf_predict", *where, "--simulate", arguments.acceleration)
        command(work, "kf_evaluate", str(tests), str(output), "-d", NAME)
    rows = pd.read_csv(output / "summary.csv")
    return rows[rows["region"] == "whole"].set_index("case")[["PSNR", "SSIM"]]


def command(work: Path, name: str, *words: str) -> None:
    folders = {f"kf_{folder}": str(work / folder) for folder in ("raw", "preprocessed", "results")}
    print(f"$ {name} {' '.join(words)}", flush=True)
    subprocess.run([Path(sys.executable).parent / name, *words], env={**os.environ, **folders}, check=True)


def print_table(cases: pd.DataFrame, metric: str) -> None:
    """Means and the gain over the best other method of each case; a case is a subject."""
    gain = cases["3d_vit"] - cases.drop(columns="3d_vit").max(axis=1)
    print(f"\n{metric:24}  mean   95 %")
    for name, values in (*cases.items(), ("gain of 3d_vit", gain)):
        mean, low, high = mean_interval(values)
        print(f"{name!s:24} {mean:6.3f}  ({low:.3f} to {high:.3f})")
    print(f"{'least gain of a subject':24} {gain.min():6.3f}")


if __name__ == "__main__":
    main()
