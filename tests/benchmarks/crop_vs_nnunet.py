"""What a crop sees beside a patch of nnU-Net's planner, at the same memory. A Markdown table.

    python tests/benchmarks/crop_vs_nnunet.py [--memory 8 24] [--environment FOLDER]

nnU-Net is installed into FOLDER, without its dependencies, which are ours. Its planner is asked in a process
of its own, which has that folder first on its path. Nothing is trained.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning.budget import Budget
from kneeformer.planning.rules import crop_share
from kneeformer.planning.spending import spend

PACKAGES = ("nnunetv2==2.8.1", "dynamic-network-architectures==0.4.4")
CASES, STRUCTURES = 50, 6
DATA: list[tuple[str, Size, Spacing]] = [
    ("knee, proton density", (36, 320, 320), (3.1, 0.44, 0.44)),
    ("knee, 40 slices", (40, 320, 320), (3.0, 0.44, 0.44)),
    ("knee, small", (24, 128, 128), (4.67, 1.09, 1.09)),
    ("knee, three planes", (24, 128, 128), (4.67, 1.094, 0.875)),
    ("leg, CT", (80, 512, 512), (5.0, 0.8, 0.8)),
    ("knee, DESS", (160, 384, 384), (0.7, 0.365, 0.365)),
    ("hippocampus", (36, 50, 35), (1.0, 1.0, 1.0)),
    ("brain, T1", (155, 240, 240), (1.0, 1.0, 1.0)),
    ("brain, 0.7 mm", (256, 320, 320), (0.7, 0.7, 0.7)),
    ("heart, cine", (9, 256, 216), (10.0, 1.56, 1.56)),
    ("heart, CT", (115, 320, 232), (1.37, 0.6, 0.6)),
    ("prostate", (20, 320, 320), (3.6, 0.6, 0.6)),
    ("liver, CT", (432, 512, 512), (1.0, 0.77, 0.77)),
    ("abdomen, CT 3 mm", (140, 512, 512), (3.0, 0.76, 0.76)),
    ("pancreas, CT", (96, 512, 512), (2.5, 0.8, 0.8)),
    ("lung, CT", (252, 512, 512), (1.24, 0.79, 0.79)),
    ("spine, CT 1 mm", (400, 250, 250), (1.0, 1.0, 1.0)),
    ("hip, MRI", (30, 512, 512), (4.0, 0.35, 0.35)),
    ("shoulder, MRI", (25, 256, 256), (3.3, 0.6, 0.6)),
    ("ankle, MRI", (28, 448, 448), (3.0, 0.36, 0.36)),
    ("wrist, CT", (250, 300, 300), (0.4, 0.4, 0.4)),
    ("tibia, CT", (180, 140, 165), (1.0, 1.0, 1.0)),
    ("femur, CT", (480, 160, 160), (1.0, 1.0, 1.0)),
    ("foot, cone beam", (500, 500, 400), (0.3, 0.3, 0.3)),
    ("bone, micro-CT", (600, 600, 600), (0.06, 0.06, 0.06)),
    ("knee, 3 mm isotropic", (60, 60, 60), (3.0, 3.0, 3.0)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--memory", type=float, nargs="+", default=[8, 24], metavar="GB")
    parser.add_argument("--environment", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.environment or Path(tempfile.mkdtemp(prefix="kf_nnunet_"))
    if not (folder / "nnunetv2").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *PACKAGES]
        subprocess.run(pip, check=True)
    print("| data | voxels | mm | GB | nnU-Net's patch | sees | crop | batch | sees | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for memory in arguments.memory:
        patches = _ask_nnunet(folder, memory)
        for (name, shape, spacing), patch in zip(DATA, patches, strict=True):
            spent = spend(shape, spacing, CASES, 1, STRUCTURES + 1, Budget("cuda", memory))
            theirs, ours = (crop_share(crop, shape) for crop in (patch, spent.crop))
            cells = (
                name,
                _by(shape),
                _by(spacing),
                f"{memory:g}",
                _by(patch),
                f"{theirs:.0%}",
                _by(spent.crop),
                str(spent.batch),
                f"{ours:.0%}",
                "" if ours >= theirs else "less",
            )
            print("| " + " | ".join(cells) + " |", flush=True)


def _ask_nnunet(folder: Path, memory: float) -> list[Size]:
    """Its 3d_fullres patch for each row, in the order of our axes."""
    question = json.dumps({"memory": memory, "rows": [(shape, spacing) for _, shape, spacing in DATA]})
    with tempfile.TemporaryDirectory() as work:
        names = ("raw", "preprocessed", "results")
        paths = {f"nnUNet_{name}": str(Path(work) / name) for name in names}
        asked = subprocess.run(
            [sys.executable, "-c", _QUESTION],
            input=question,
            env={**os.environ, **paths, "PYTHONPATH": str(folder)},
            check=True,
            capture_output=True,
            text=True,
        )
    rows = json.loads(asked.stdout.splitlines()[-1])
    return [(z, y, x) for z, y, x in rows]


def _by(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


_QUESTION = f"""
import json, os, sys
from pathlib import Path
import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

asked = json.loads(sys.stdin.read())
name = "Dataset001_Asked"
raw, preprocessed = (Path(os.environ[f"nnUNet_{{part}}"]) / name for part in ("raw", "preprocessed"))
(raw / "imagesTr").mkdir(parents=True)
(raw / "labelsTr").mkdir()
preprocessed.mkdir(parents=True)
(raw / "imagesTr" / "a_0000.nrrd").touch()
labels = {{"background": 0, **{{f"structure_{{n}}": n for n in range(1, {STRUCTURES} + 1)}}}}
(raw / "dataset.json").write_text(json.dumps(
    {{"channel_names": {{"0": "MRI"}}, "labels": labels, "numTraining": {CASES}, "file_ending": ".nrrd"}}
))
patches = []
for shape, spacing in asked["rows"]:
    seen = {{
        "spacings": [spacing] * {CASES},
        "shapes_after_crop": [shape] * {CASES},
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {{}},
    }}
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(seen))
    planner = ExperimentPlanner(name, gpu_memory_target_in_gb=asked["memory"])
    forward, backward = planner.determine_transpose()
    target = np.array(planner.determine_fullres_target_spacing())[forward]
    turned = np.array(shape, float)[forward]
    plan = planner.get_plans_for_configuration(
        target, turned, "asked", float(np.prod(turned)) * {CASES}, {{}}
    )
    patches.append([int(plan["patch_size"][axis]) for axis in backward])
print(json.dumps(patches))
"""


if __name__ == "__main__":
    main()
