"""Scans of several planes: each in the frame of its plane, slices first, against one isotropic frame for all.

    python tests/benchmarks/mixed_planes.py DATASET_FOLDER [--steps 3000] [--work DIR]

The isotropic frame is the most frequent orientation at the spacing that has as many voxels as the plan's; its
network and crop follow from the same rules. Both are trained on fold 0 for the same number of steps, and
compared on the scans' own grids, plane by plane.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kneeformer.config import CropConfiguration
from kneeformer.planning.budget import Budget, machine_memory_gb
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.planning.hybrid import spend_on
from kneeformer.planning.rules import median_shape
from kneeformer.plans import Plan, read_plan

SCRIPTS = Path(sys.executable).parent
PLANES, FRAME = "kfPlans", "framePlans"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work, name = arguments.work or Path(tempfile.mkdtemp(prefix="kf_planes_")), arguments.dataset.name
    (work / "raw").mkdir(parents=True, exist_ok=True)
    if not (link := work / "raw" / name).exists():
        link.symlink_to(arguments.dataset.resolve())
    _run(work, "kf_plan_and_preprocess", "-d", name, "-c", "3d_vit")
    prepared = work / "preprocessed" / name
    fingerprint = Fingerprint.model_validate_json((prepared / "dataset_fingerprint.json").read_text())
    plan = in_one_frame(read_plan(prepared / f"{PLANES}.json"), fingerprint)
    (prepared / f"{FRAME}.json").write_text(plan.to_text())
    _run(work, "kf_preprocess", "-d", name, "-c", "3d_vit", "-p", FRAME)
    for plans in (PLANES, FRAME):
        length = json.loads((prepared / f"{plans}.json").read_text())["configurations"]["3d_vit"]["training"]
        epochs = str(max(1, round(arguments.steps / length["steps_per_epoch"])))
        _run(work, "kf_train", name, "3d_vit", "fold0", "-p", plans, "--epochs", epochs, "--overwrite")
    _run(work, "kf_find_best_configuration", name, "-c", "3d_vit", "-p", PLANES, FRAME, "--ranking_only")
    print(f"kept in {work}")


def in_one_frame(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan's `3d_vit` for scans that are all brought to the first orientation and to isotropic voxels."""
    planes = plan.configuration("3d_vit")
    assert isinstance(planes, CropConfiguration)
    first = fingerprint.orientations[0]
    turned = fingerprint.model_copy(
        update={
            "orientations": (first,),
            "cases": {name: case.turned(first) for name, case in fingerprint.cases.items()},
        }
    )
    edge = math.prod(planes.preprocessing.spacing) ** (1 / 3)
    spacing = (edge, edge, edge)
    shape = median_shape(turned, spacing)
    spent = spend_on(turned, shape, spacing, Budget("cpu", machine_memory_gb() / 2))
    frame = {"folder": "frame", "spacing": spacing, "orientations": (first,), "median_shape": shape}
    changed = planes.model_copy(
        update={
            "previous_stage": None,
            "evidence": None,
            "preprocessing": planes.preprocessing.model_copy(update={**frame, "thick_axis": None}),
            "network": spent.network,
            "training": planes.training.model_copy(update={"crop": spent.crop, "batch_size": spent.batch}),
            "augmentation": planes.augmentation.model_copy(update={"rotation_degrees": (15.0, 15.0, 15.0)}),
        }
    )
    return plan.model_copy(update={"plans_name": FRAME, "configurations": {"3d_vit": changed}})


def _run(work: Path, *command: str) -> None:
    folders = {f"kf_{part}": str(work / part) for part in ("raw", "preprocessed", "results")}
    print("\n$", *command, flush=True)
    subprocess.run([SCRIPTS / command[0], *command[1:]], env={**os.environ, **folders}, check=True)


if __name__ == "__main__":
    main()
