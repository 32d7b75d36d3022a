"""Train fold 0 of a dataset by the plan of an older revision and by today's, with today's code, by the clock.

    python tests/benchmarks/old_and_new_plan.py DATASET_FOLDER --minutes 20 [--old REVISION] [--work DIR]

Of the older plan network, crop, batch and number of steps are taken, and the rest of today's: that is what is
compared, and other settings have other names today. Both plans are in WORK/preprocessed; the validation
tables come after the trainings. Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
OLD, NEW = "oldPlans", "kfPlans"


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
    prepared = work / "preprocessed" / name
    _run(work, old, "kf_plan", "-d", name, "-p", OLD)
    planned = (prepared / f"{OLD}.json").read_text()
    _run(work, ROOT, "kf_plan_and_preprocess", "-d", name, "-c", "3d_vit")
    merged = _with_network_of(json.loads(planned), json.loads((prepared / f"{NEW}.json").read_text()))
    (prepared / f"{OLD}.json").write_text(json.dumps(merged, indent=2))
    _run(work, ROOT, "kf_preprocess", "-d", name, "-c", "3d_vit", "-p", OLD)
    for plans in (OLD, NEW):
        fold = ("kf_train", name, "3d_vit", "fold0", "-p", plans)
        _run(work, ROOT, *fold, "--minutes", arguments.minutes, "--overwrite")
    _run(work, ROOT, "kf_find_best_configuration", name, "-c", "3d_vit", "-p", OLD, NEW, "--ranking_only")
    print(f"kept in {work}; then: git worktree remove {old}")


def _run(work: Path, code: Path, *command: str) -> None:
    folders = {f"kf_{part}": str(work / part) for part in ("raw", "preprocessed", "results")}
    print("\n$", *command, flush=True)
    environment = {**os.environ, **folders, "PYTHONPATH": str(code)}
    subprocess.run([SCRIPTS / command[0], *command[1:]], env=environment, check=True, cwd=code)


def _with_network_of(old: dict, new: dict) -> dict:
    """Today's plan with network, crop, batch and steps of an older one, under the older one's name."""
    before, now = (plan["configurations"]["3d_vit"] for plan in (old, new))
    taken = ("crop", "batch_size", "epochs", "steps_per_epoch", "learning_rate", "warmup_steps")
    training = {**now["training"], **{key: before["training"][key] for key in taken}}
    merged = {**now, "network": before["network"], "training": training, "evidence": None}
    return {**new, "plans_name": OLD, "configurations": {"3d_vit": {**merged, "previous_stage": None}}}


if __name__ == "__main__":
    main()
