"""Train fold 0 of a dataset by the plan of an older revision and by today's, with today's code, by the clock.

    python tests/benchmarks/old_and_new_plan.py DATASET_FOLDER --minutes 20 [--old REVISION] [--work DIR]

Both plans are printed before the trainings, and the validation tables after them. Run it on an idle machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--minutes", default="20")
    parser.add_argument("--old", default="43fca46", help="revision before decision 0032 (default 43fca46)")
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_plans_"))
    old, name = work / "old_revision", arguments.dataset.name
    if not old.exists():
        git = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(old), arguments.old]
        subprocess.run(git, check=True)
    (work / "raw").mkdir(parents=True, exist_ok=True)
    if not (link := work / "raw" / name).exists():
        link.symlink_to(arguments.dataset.resolve())
    for code, command in (
        (old, ["kf_plan", "-d", name, "-p", "oldPlans"]),
        (ROOT, ["kf_plan_and_preprocess", "-d", name]),
        (ROOT, ["kf_preprocess", "-d", name, "-c", "3d_vit", "-p", "oldPlans"]),
        *(
            (
                ROOT,
                [
                    "kf_train",
                    name,
                    "3d_vit",
                    "fold0",
                    "-p",
                    plans,
                    "--minutes",
                    arguments.minutes,
                    "--overwrite",
                ],
            )
            for plans in ("oldPlans", "kfPlans")
        ),
    ):
        folders = {f"kf_{part}": str(work / part) for part in ("raw", "preprocessed", "results")}
        print("\n$", *command, flush=True)
        environment = {**os.environ, **folders, "PYTHONPATH": str(code)}
        subprocess.run([SCRIPTS / command[0], *command[1:]], env=environment, check=True, cwd=code)
    print(f"kept in {work}; then: git worktree remove {old}")


if __name__ == "__main__":
    main()
