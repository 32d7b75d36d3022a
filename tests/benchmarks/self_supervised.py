"""Self-supervised against supervised reconstruction: one network, test files and masks, equal time or steps.

    python tests/benchmarks/self_supervised.py DATASET_FOLDER --minutes 8 [--acceleration 4] [--work DIR]

DATASET_FOLDER has fully sampled k-space in imagesTr and imagesTs, in fastMRI's layout. Self-supervised arms
learn from copies of imagesTr in which one column in `--acceleration` is left, by a mask that the file's name
seeds; all arms reconstruct imagesTs with `--simulate`. `tv` takes the weight that is best on the fully
sampled training files. Trainings run one after the other, on all of imagesTr. --work is kept, and what is
there is not made again. The table gives means over test files, and of each arm the share of the gain of
`supervised` over `tv` and over `zero_filled`, with 95 % intervals over subjects.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from kneeformer.data.images import read_image
from kneeformer.kspace.fastmri_masks import seed_of_file
from kneeformer.kspace.sampling import draw_mask, measured_columns
from kneeformer.metrics.bootstrap import bootstrap_weights, percentiles, weighted_means

FULL, UNDERSAMPLED = "Dataset901_Full", "Dataset902_Undersampled"
ARMS = {  # name: dataset, configuration, settings
    "zero_filled": (FULL, "zero_filled", []),
    "tv": (FULL, "tv", []),
    "supervised": (FULL, "3d_vit", []),
    "splitting": (UNDERSAMPLED, "3d_vit", []),
    "splitting_and_equivariance": (UNDERSAMPLED, "3d_vit", ["self_supervision.equivariance=1"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--minutes", help="of each training")
    parser.add_argument("--steps", type=int, help="of each training, in place of minutes")
    parser.add_argument("--acceleration", default="4")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--set", action="append", default=[], help="of every network, as of kf_train")
    arguments = parser.parse_args()
    if (arguments.minutes is None) == (arguments.steps is None):
        parser.error("give --minutes or --steps")
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_benchmark_"))
    write_datasets(arguments.dataset.resolve(), work / "raw", float(arguments.acceleration))
    for dataset in (FULL, UNDERSAMPLED):
        if not (work / "preprocessed" / dataset / "kfPlans.json").is_file():
            command(work, "results", "kf_plan_and_preprocess", "-d", dataset)
    scores = {arm: scores_of(arm, work, arguments) for arm in ARMS}
    print(f"\nkept in {work}")
    for metric in ("PSNR", "SSIM"):
        print_table({arm: found[metric] for arm, found in scores.items()}, metric)


def write_datasets(source: Path, raw: Path, acceleration: float) -> None:
    """FULL is the source; UNDERSAMPLED has what a faster scan of each training file measures, and no more."""
    if (raw / UNDERSAMPLED / "dataset.json").is_file():
        return
    folder = raw / UNDERSAMPLED / "imagesTr"
    folder.mkdir(parents=True, exist_ok=True)
    if not (raw / FULL).exists():
        (raw / FULL).symlink_to(source)
    for file in sorted((source / "imagesTr").glob("*.h5")):
        write_undersampled(file, folder / file.name, acceleration)
    (raw / UNDERSAMPLED / "dataset.json").write_bytes((source / "dataset.json").read_bytes())


def write_undersampled(file: Path, copy: Path, acceleration: float) -> None:
    acquired = measured_columns(read_image(file).array)  # without the padding
    mask = draw_mask("random", acquired, acceleration, seed_of_file(file.name))
    with h5py.File(file) as source, h5py.File(copy, "w") as target:
        target["kspace"] = source["kspace"][()] * mask
        target["ismrmrd_header"] = source["ismrmrd_header"][()]


def scores_of(arm: str, work: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """PSNR and SSIM of each test case, indexed by its subject; made where they are not there."""
    dataset, configuration, settings = ARMS[arm]
    results, tests = f"results/{arm}", work / "raw" / FULL / "imagesTs"
    output = work / "predicted" / arm
    if not (output / "summary.csv").is_file():
        learnt = ["-f", "all"] if configuration != "zero_filled" else []
        if learnt:
            words = [] if configuration == "tv" else training_words(arguments, settings)
            command(work, results, "kf_train", dataset, configuration, "all", "--overwrite", *words)
        where = ["-i", str(tests), "-o", str(output), "-d", dataset, "-c", configuration, *learnt]
        command(work, results, "kf_predict", *where, "--simulate", arguments.acceleration)
        command(work, results, "kf_evaluate", str(tests), str(output), "-d", FULL)
    rows = pd.read_csv(output / "summary.csv")
    return rows[rows["region"] == "whole"].set_index("subject").sort_values("case")[["PSNR", "SSIM"]]


def training_words(arguments: argparse.Namespace, settings: list[str]) -> list[str]:
    """Settings and length of a training by steps, as kf_train takes them."""
    settings, words = [*settings, *arguments.set], []
    if arguments.steps is None:
        words = ["--minutes", arguments.minutes]
    else:
        settings += ["training.epochs=1", f"training.steps_per_epoch={arguments.steps}"]
    return [*words, *(word for setting in settings for word in ("--set", setting))]


def command(work: Path, results: str, name: str, *words: str) -> None:
    folders = {"kf_raw": "raw", "kf_preprocessed": "preprocessed", "kf_results": results}
    environment = {**os.environ, **{key: str(work / folder) for key, folder in folders.items()}}
    print(f"$ {name} {' '.join(words)}", flush=True)
    subprocess.run([Path(sys.executable).parent / name, *words], env=environment, check=True)


def print_table(scores: dict[str, pd.Series], metric: str) -> None:
    cases = pd.DataFrame({arm: found.to_numpy() for arm, found in scores.items()}, scores["tv"].index)
    weights = bootstrap_weights(list(cases.index))
    resampled = {arm: weighted_means(cases[arm].to_numpy(), weights) for arm in cases}
    print(f"\n{metric:27}  mean   95 %            share of the gain over tv    over zero_filled")
    for arm in cases:
        line = f"{arm:27} {cases[arm].mean():6.3f}  {interval(resampled[arm])}"
        for base in ("tv", "zero_filled") if arm.startswith("splitting") else ():
            share = (resampled[arm] - resampled[base]) / (resampled["supervised"] - resampled[base])
            mean = (cases[arm] - cases[base]).mean() / (cases["supervised"] - cases[base]).mean()
            line += f"   {mean:5.2f} {interval(share)}"
        print(line)


def interval(resampled: np.ndarray) -> str:
    low, high = percentiles(resampled)
    return f"({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
