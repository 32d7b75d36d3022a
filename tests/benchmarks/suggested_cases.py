"""Suggested scans against random ones: Dice after labelling so many more.

    python tests/benchmarks/suggested_cases.py DATASET_FOLDER --epochs 12 [--labels 5] [--seeds 0 1] \
        [--draws 3] [--set training.batch_size=2] [--work DIR]

DATASET_FOLDER is a raw-data folder whose cases all have labels. For each seed a network learns from
`--labels` random cases of fold 0; as many more are chosen by `kf_suggest_cases` among the rest of the fold,
and `--draws` times at random; a network learns from each choice together with the first cases. All are
validated on the validation cases of fold 0. Each training is a fold of a splits_final.json of its own. --work
is kept, and what is there is not made again. Intervals are 95 %, over seeds and subjects.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Dataset
from kneeformer.data.files import read_json, write_json
from kneeformer.metrics.bootstrap import seeds_and_subjects_interval
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import WHOLE
from kneeformer.metrics.summary import read_summary
from kneeformer.paths import Folders
from kneeformer.studies.suggest_cases import suggest_among
from kneeformer.workflows.predict import Predictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--epochs", required=True)
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="of every training, as of kf_train")
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_benchmark_"))
    folders = Folders(work / "raw", work / "preprocessed", work / "results")
    prepare(folders, arguments.dataset.resolve())
    found = [of_seed(folders, arguments, seed) for seed in arguments.seeds]
    print(f"\nkept in {work}\n")
    first, suggested = (np.stack([scores[role] for scores in found]) for role in ("first", "suggested"))
    random = np.stack([scores["random"] for scores in found])  # seeds, draws, subjects
    mean = random.mean(1)
    print(f"{arguments.labels} labels             {text(first)}")
    print(f"{2 * arguments.labels} labels, suggested {text(suggested)}")
    print(f"{2 * arguments.labels} labels, random    {text(mean)}")
    for draw in range(arguments.draws):
        print(f"    draw {draw}            {text(random[:, draw])}")
    print(f"suggested - random, points: {text(100 * (suggested - mean), 2)}")


def prepare(folders: Folders, source: Path) -> None:
    """Plan and preprocess; the planned splits are kept beside those of the trainings."""
    folders.raw.mkdir(parents=True, exist_ok=True)
    if not (folders.raw / source.name).exists():
        (folders.raw / source.name).symlink_to(source)
    kept = folders.preprocessed / source.name / "splits_planned.json"
    if not kept.is_file():
        command(folders, "kf_plan_and_preprocess", "-d", source.name)
        write_json(kept, read_json(kept.with_name("splits_final.json")))


def of_seed(folders: Folders, arguments: argparse.Namespace, seed: int) -> dict[str, np.ndarray]:
    """Mean Dice of each validation subject; of the random choices (draws, subjects)."""
    dataset, number = arguments.dataset.resolve().name, arguments.labels
    split = read_json(folders.preprocessed / dataset / "splits_planned.json")[0]
    rng = np.random.default_rng(seed)
    order = [split["train"][i] for i in rng.permutation(len(split["train"]))]
    labelled, rest = order[:number], order[number:]
    results = Folders(folders.raw, folders.preprocessed, folders.results / f"seed_{seed}")
    splits = [labelled]
    scores = {"first": scored(results, arguments, splits, seed)}
    splits.append([*labelled, *suggested(results, dataset, labelled, rest, number)])
    scores["suggested"] = scored(results, arguments, splits, seed)
    random = []
    for _ in range(arguments.draws):
        splits.append([*labelled, *rng.choice(rest, number, replace=False).tolist()])
        random.append(scored(results, arguments, splits, seed))
    return {**scores, "random": np.stack(random)}


def scored(folders: Folders, arguments: argparse.Namespace, splits: list[list[str]], seed: int) -> np.ndarray:
    """Mean Dice of each validation subject, after training the last of the splits."""
    dataset, fold = arguments.dataset.resolve().name, len(splits) - 1
    home = folders.preprocessed / dataset
    validation = read_json(home / "splits_planned.json")[0]["val"]
    write_json(home / "splits_final.json", [{"train": sorted(s), "val": validation} for s in splits])
    folder = folders.model(dataset, "3d_vit") / f"fold_{fold}"
    if not (folder / "validation" / "summary.json").is_file():
        words = [word for setting in arguments.set for word in ("--set", setting)]
        words += ["--epochs", arguments.epochs, "--seed", str(seed), "--no_pretraining", "--overwrite"]
        command(folders, "kf_train", dataset, "3d_vit", str(fold), *words)
    return np.array([*read_summary(folder / "validation").table.by_subject(DICE.name, WHOLE).values()])


def suggested(folders: Folders, dataset: str, labelled: list[str], rest: list[str], number: int) -> list[str]:
    """So many of the rest, by the network that learnt from the labelled cases; chosen once."""
    file = folders.results / "suggested.json"
    if not file.is_file():
        cases = {case.name: case for case in Dataset.open(folders.raw / dataset).training_cases()}
        predictor = Predictor.from_model_folder(folders.model(dataset, "3d_vit"), ("0",))
        known, unknown = ([cases[name] for name in names] for names in (labelled, rest))
        write_json(file, [s.case for s in suggest_among(predictor, known, unknown, number, lambda *_: None)])
    return list(read_json(file))


def command(folders: Folders, name: str, *words: str) -> None:
    environment = {**os.environ, **{f"kf_{key}": str(folder) for key, folder in vars(folders).items()}}
    print(f"$ {name} {' '.join(words)}", flush=True)
    subprocess.run([Path(sys.executable).parent / name, *words], env=environment, check=True)


def text(values: np.ndarray, digits: int = 4) -> str:
    mean, low, high = seeds_and_subjects_interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
