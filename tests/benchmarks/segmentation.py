"""Train fold 0 of a dataset by the clock, as a user would, and print the validation table.

    python tests/benchmarks/segmentation.py DATASET_FOLDER --minutes 10 [--configuration 3d_vit] [--work DIR]

DATASET_FOLDER is a raw-data folder (Dataset004_Hippocampus, or what make_knee_mri.py wrote). Folders of the
run are made in --work, which is kept: a second run with another configuration reuses the preprocessing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--minutes", required=True)
    parser.add_argument("--configuration", default="3d_vit")
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_benchmark_"))
    folders = {f"kf_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    environment = {**os.environ, **folders}
    (work / "raw").mkdir(parents=True, exist_ok=True)
    link = work / "raw" / arguments.dataset.name
    if not link.exists():
        link.symlink_to(arguments.dataset.resolve())
    name, scripts = arguments.dataset.name, Path(sys.executable).parent
    for command in (
        ["kf_plan_and_preprocess", "-d", name],
        ["kf_train", name, arguments.configuration, "fold0", "--minutes", arguments.minutes, "--overwrite"],
    ):
        subprocess.run([scripts / command[0], *command[1:]], env=environment, check=True)
    print(f"kept in {work}")


if __name__ == "__main__":
    main()
