"""Plan and preprocess one raw dataset with kneeformer and with nnU-Net, side by side: time and memory.

    python tests/benchmarks/plan_and_preprocess_vs_nnunet.py NNUNET_VENV/bin RAW/Dataset102_Knee10

The commands alternate (nnU-Net, kneeformer, nnU-Net, ...), each into output folders of its own, with their
default settings unless --nnunet-args or --ours-args say otherwise (nnU-Net's defaults preprocess a 2D and
up to two 3D configurations; "-c 3d_fullres" limits it to one). Both are started once with -h beforehand, so
that neither pays for a cold disk. Sampling memory takes time, more with more processes: runs that are timed
are not sampled, and runs that are sampled do not count for the time. Over the whole process tree:

    PSS       peak of the sum over processes, shared pages counted once: what the machine has to have
    USS       the same, pages shared between processes not counted at all
    largest   peak resident memory (VmHWM) of the largest single process
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

GIB = 2**30
GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)


@dataclass(frozen=True)
class Contender:
    """A command, and the prefix of the three environment variables that name its folders."""

    name: str
    command: tuple[str, ...]
    prefix: str

    def environment(self, raw: Path, work: Path) -> dict[str, str]:
        folders = {"raw": raw, "preprocessed": work / "preprocessed", "results": work / "results"}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {**os.environ, **{f"{self.prefix}_{name}": str(path) for name, path in folders.items()}}


@dataclass
class Cost:
    """What one run took: seconds, and peaks in bytes where it was sampled."""

    sampled: bool
    seconds: float = 0.0
    pss: int = 0
    uss: int = 0
    largest: int = 0
    processes: int = 0

    def sample(self, root: psutil.Process) -> None:
        """Raise the peaks to what the tree under `root` uses now."""
        pss = uss = alive = 0
        with suppress(*GONE):
            for process in (root, *root.children(recursive=True)):
                with suppress(*GONE):
                    memory = process.memory_full_info()
                    pss, uss, alive = pss + memory.pss, uss + memory.uss, alive + 1
                    self.largest = max(self.largest, _high_water_mark(process.pid))
        self.pss, self.uss = max(self.pss, pss), max(self.uss, uss)
        self.processes = max(self.processes, alive)


def _high_water_mark(pid: int) -> int:
    """Peak resident bytes of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def measure(contender: Contender, raw: Path, interval_s: float | None) -> Cost:
    """Run the contender once into fresh folders, sampling its memory every `interval_s`, or never.

    Exits with the end of its output where it fails.
    """
    with tempfile.TemporaryDirectory(prefix=f"{contender.prefix}-", dir=raw.parent) as folder:
        log = Path(folder) / "log.txt"
        cost, start = Cost(interval_s is not None), time.perf_counter()
        with log.open("w") as handle:
            process = subprocess.Popen(
                contender.command,
                env=contender.environment(raw, Path(folder)),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
            )
            root = psutil.Process(process.pid)
            while process.poll() is None:
                if cost.sampled:
                    cost.sample(root)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(interval_s)
        cost.seconds = time.perf_counter() - start
        if process.returncode:
            sys.exit(f"{shlex.join(contender.command)} failed:\n" + log.read_text()[-3000:])
        return cost


def one_dataset_root(dataset: Path) -> Path:
    """A folder that holds a link to the dataset and nothing else, beside it."""
    root = Path(tempfile.mkdtemp(prefix="side-by-side-", dir=dataset.parent)) / "raw"
    root.mkdir()
    (root / dataset.name).symlink_to(dataset.resolve(), target_is_directory=True)
    return root


def report(costs: dict[str, list[Cost]]) -> None:
    print(f"{'':12}{'seconds':>10}{'PSS GiB':>10}{'USS GiB':>10}{'largest':>10}{'processes':>11}")
    for name, runs in costs.items():
        for c in runs:
            memory = (
                f"{c.pss / GIB:10.2f}{c.uss / GIB:10.2f}{c.largest / GIB:10.2f}{c.processes:11}"
                if c.sampled
                else ""
            )
            print(f"{name:12}{c.seconds:10.1f}{memory}")
    if len(costs) < 2:
        return
    print("\nmedian of nnU-Net / median of kneeformer (above 1: kneeformer takes less)")
    for field in ("seconds", "pss", "uss", "largest"):
        theirs, ours = (
            statistics.median(getattr(c, field) for c in runs if c.sampled == (field != "seconds"))
            for runs in costs.values()
        )
        print(f"{field:12}{theirs / ours:10.2f}")


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("nnunet_bin", type=Path, help="bin folder of the environment that holds nnU-Net")
    p.add_argument("dataset", type=Path, help="a raw dataset folder, Dataset102_Knee10")
    p.add_argument("-n", "--repetitions", type=int, default=3, help="timed runs of each")
    p.add_argument("-m", "--memory-repetitions", type=int, default=1, help="sampled runs of each, after them")
    p.add_argument("--ours-bin", type=Path, default=Path(sys.executable).parent)
    p.add_argument("--nnunet-args", type=shlex.split, default=[], help='e.g. " -c 3d_fullres"')
    p.add_argument("--ours-args", type=shlex.split, default=[])
    p.add_argument("--only", choices=["nnU-Net", "kneeformer"])
    p.add_argument("--interval", type=float, default=0.1, help="seconds between two samples of memory")
    p.add_argument("--json", type=Path, help="write all figures here")
    return p.parse_args()


def main() -> None:
    a = parse()
    number = str(int(a.dataset.resolve().name[7:10]))
    theirs, ours = a.nnunet_bin / "nnUNetv2_plan_and_preprocess", a.ours_bin / "kf_plan_and_preprocess"
    contenders = [
        Contender("nnU-Net", (str(theirs), "-d", number, *a.nnunet_args), "nnUNet"),
        Contender("kneeformer", (str(ours), "-d", number, *a.ours_args), "kf"),
    ]
    contenders = [c for c in contenders if a.only in (None, c.name)]
    raw = one_dataset_root(a.dataset)
    try:
        for c in contenders:
            subprocess.run(
                [c.command[0], "-h"],
                check=True,
                capture_output=True,
                env=c.environment(raw, raw.parent / "help"),
            )
        costs: dict[str, list[Cost]] = {c.name: [] for c in contenders}
        for interval_s in [None] * a.repetitions + [a.interval] * a.memory_repetitions:
            for c in contenders:
                costs[c.name].append(measure(c, raw, interval_s))
    finally:
        shutil.rmtree(raw.parent)
    report(costs)
    if a.json:
        a.json.write_text(json.dumps({n: [asdict(c) for c in r] for n, r in costs.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
