"""CPU seconds and memory of each command by the number of cases: what grows faster than the dataset shows.

    python tests/benchmarks/ten_thousand_cases.py 300 1000 3000

Writes datasets of so many synthetic cases, 8 x 16 x 16 voxels with two structures, and runs the commands on
each of them. So small a case costs little more than its bookkeeping. The cases have names such as S00012_V01,
two a subject, and dataset.json lists the subject of each. Over the whole process tree:

    CPU s      user and system seconds: load by others changes them little
    ms a case  of the cases between one size and the size before it: constant where the cost is linear
    PSS MiB    peak of the sum over processes, shared pages counted once; of the children alone after the bar

In the rows "again" everything is done already: nothing but finding that out is left.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from kneeformer.data.images import write_image
from kneeformer.geometry.grid import Grid

NAME = "Dataset500_Many"
SHAPE = (8, 16, 16)
LABELS = {"background": 0, "bone": 1, "cartilage": 2}
GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)
_PREDICTED = "predict, again"
TRAINING = ("-device", "cpu", "--no_pretraining", "--set", "training.steps_per_epoch=1")


@dataclass
class Cost:
    """What one command took: CPU seconds; peak MiB of all its processes, and of its children."""

    seconds: float = 0.0
    everything: float = 0.0
    children: float = 0.0

    def sample(self, root: psutil.Process) -> None:
        """Raise the peaks to what the tree under `root` uses now."""
        with suppress(*GONE):
            own, others = _pss(root), sum(map(_pss, root.children(recursive=True)))
            self.everything = max(self.everything, own + others)
            self.children = max(self.children, others)


def _pss(process: psutil.Process) -> float:
    with suppress(*GONE):
        return float(process.memory_full_info().pss) / 2**20
    return 0.0


def write_dataset(folder: Path, count: int) -> None:
    """Noise with a bright ball, and in it a shell and a core as label map; a case on a grid of its own."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices(SHAPE)
    radius = np.sqrt((2 * (z - 4)) ** 2 + (y - 8) ** 2 + (x - 8) ** 2)
    labels = ((radius < 6).astype(np.uint8) + (radius < 4)) % 3
    names = [f"S{i // 2:05d}_V{i % 2:02d}" for i in range(count)]
    for name in names:
        grid = Grid(SHAPE, (2.0, 1.0 + rng.uniform(0, 0.1), 1.0))
        image = (rng.normal(100, 20, SHAPE) + 100 * (labels > 0)).astype(np.int16)
        write_image(folder / "imagesTr" / f"{name}_0000.nrrd", image, grid)
        write_image(folder / "labelsTr" / f"{name}.nrrd", labels, grid)
    description = {
        "channel_names": {"0": "T1"},
        "labels": LABELS,
        "numTraining": count,
        "file_ending": ".nrrd",
        "subjects": {name: name.split("_")[0] for name in names},
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def commands(root: Path) -> dict[str, tuple[str, ...]]:
    """The commands by what they do, in the order in which each finds what it needs."""
    raw, output = root / "raw" / NAME, str(root / "predicted")
    images, predicting = (
        raw / "imagesTr",
        ("-o", output, "-d", NAME, "-c", "3d_vit", "-f", "all", "-device", "cpu"),
    )
    return {
        "check, fingerprint, plan": ("plan", "-d", NAME, "-device", "cpu", "-gpu_memory_target", "1"),
        "preprocess": ("preprocess", "-d", NAME, "-c", "3d_vit"),
        "preprocess, again": ("preprocess", "-d", NAME, "-c", "3d_vit"),
        "train, one step": ("train", NAME, "3d_vit", "all", "--epochs", "1", *TRAINING),
        "resume, one step": ("train", NAME, "3d_vit", "all", "--epochs", "2", "--c", *TRAINING),
        "predict, one case": ("predict", "-i", str(min(images.iterdir())), *predicting),
        _PREDICTED: ("predict", "-i", str(images), *predicting, "--continue_prediction"),
        "scores and summary": ("evaluate", str(raw / "labelsTr"), output, "-d", NAME),
    }


def measure(command: tuple[str, ...], root: Path, interval_s: float) -> Cost:
    """Run a command; exits with the end of its output where it fails."""
    folders = {f"kf_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    name, *arguments = command
    before, cost = _child_seconds(), Cost()
    with (root / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            (sys.executable, "-c", f"from kneeformer.cli.{name} import main; main()", *arguments),
            env={**os.environ, **folders},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            cost.sample(watched)
            with suppress(subprocess.TimeoutExpired):
                process.wait(interval_s)
    if process.returncode:
        end = (root / "log.txt").read_text(encoding="utf-8", errors="replace")[-3000:]
        sys.exit(f"kf_{' '.join(command)} failed:\n{end}")
    cost.seconds = _child_seconds() - before
    return cost


def _child_seconds() -> float:
    """CPU seconds of the children that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_size(count: int, scratch: Path, interval_s: float) -> dict[str, Cost]:
    """Write a dataset of `count` cases, run the commands on it, and remove it."""
    root = Path(tempfile.mkdtemp(prefix=f"{count}-cases-", dir=scratch))
    try:
        write_dataset(root / "raw" / NAME, count)
        costs = {}
        for what, command in commands(root).items():
            if what == _PREDICTED:  # the label maps stand for predictions
                for label in (root / "raw" / NAME / "labelsTr").iterdir():
                    shutil.copyfile(label, root / "predicted" / label.name)
            costs[what] = cost = measure(command, root, interval_s)
            print(f"{count:7} {what:26}{cost.seconds:9.1f} s {cost.everything:7.0f} MiB", flush=True)
        return costs
    finally:
        shutil.rmtree(root)


def report(costs: dict[int, dict[str, Cost]]) -> None:
    """A Markdown table, a row a command."""
    sizes = sorted(costs)
    print("\n| command | " + " | ".join(f"{n} cases: CPU s, PSS MiB" for n in sizes) + " | ms a case |")
    print("|---" * (len(sizes) + 2) + "|")
    for what in costs[sizes[0]]:
        each = [costs[n][what] for n in sizes]
        cells = [f"{c.seconds:.1f}, {c.everything:.0f} \\| {c.children:.0f}" for c in each]
        slopes = [
            f"{1000 * (costs[b][what].seconds - costs[a][what].seconds) / (b - a):.2f}"
            for a, b in pairwise(sizes)
        ]
        print(f"| {what} | " + " | ".join(cells) + f" | {', '.join(slopes)} |")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sizes", type=int, nargs="+", help="numbers of cases")
    p.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    p.add_argument("--interval", type=float, default=0.5, help="seconds between looks at the memory")
    a = p.parse_args()
    report({count: measure_size(count, a.scratch, a.interval) for count in sorted(a.sizes)})


if __name__ == "__main__":
    main()
