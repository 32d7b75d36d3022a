"""Thousands of damaged dataset.json, plans, records and checkpoints; prints what came of each kind.

python tests/benchmarks/state_fuzz.py [COUNT] [SEED]
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from state_fuzz import (
    fuzz_checkpoints,
    fuzz_descriptions,
    fuzz_pickles,
    fuzz_plan_files,
    fuzz_plans,
    fuzz_runs,
    fuzz_settings,
)
from test_plan import content, plan
from test_plan_ranges import bones

from kneeformer.workflows.fold_folder import write_run
from kneeformer.workflows.request import Request


def main(count: int = 2000, seed: int = 0) -> None:
    folder = Path(tempfile.mkdtemp())
    write_run(folder, plan(), Request("Dataset001_Knee", "3d_vit", 0), torch.device("cpu"), None)
    kinds = {
        "dataset.json": lambda: fuzz_descriptions(folder, count, seed),
        "plans of crops": lambda: fuzz_plans(content(), count, seed),
        "plans of bones": lambda: fuzz_plans(bones(), count, seed),
        "--set": lambda: fuzz_settings(plan(), "3d_vit", count, seed),
        "plan files": lambda: fuzz_plan_files(plan(), folder, count, seed),
        "run.json": lambda: fuzz_runs(folder, count, seed),
        "checkpoints": lambda: fuzz_checkpoints(folder, count, seed),
        "pickles": lambda: fuzz_pickles(folder, count // 10, seed),
    }
    for name, fuzz in kinds.items():
        started = time.monotonic()
        found = fuzz()
        seconds = time.monotonic() - started
        print(f"{name}: {found['refused']} refused, {found['accepted']} accepted, {seconds:.0f} s")
    print("0 tracebacks, 0 pickles run, 0 checkpoints read otherwise than written")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
