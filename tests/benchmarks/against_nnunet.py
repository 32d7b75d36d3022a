"""nnU-Net and kneeformer on the same dataset and machine, in one run: a Markdown table of figures and ratios.

    python tests/benchmarks/against_nnunet.py DATASET_FOLDER [--minutes 10 30 60] [--nnunet VENV] [--work DIR]
                                              [--cores N [M]] [--repeat N]

DATASET_FOLDER is a raw dataset for segmentation, such as DatasetNNN_Knee. nnU-Net is installed into VENV
where it is not there yet. The programs take turns, with their own defaults: -h, plan and preprocess, fold 0
of the same splits trained once for each number of minutes and validated on the same cases, one case
predicted. Everything is kept in --work, and the table in its table.md; a training that ended there is not
run a second time, so another dataset, or other cores, need another folder.

--cores 0 pins both programs to core 0. --cores 0 1 gives nnU-Net core 0 and us core 1, and lets the
trainings run at the same time; what is timed in seconds is still run in turn.

nnU-Net trains by epochs of 250 steps, which take longer than ten minutes here. Its trainer is kept as it is
but for the clock: the learning rate falls to zero over the minutes instead of over 1000 epochs, and the
validation patches in between are left out. That is to its advantage. Memory is the peak of the sum over all
processes, shared pages counted once (PSS), sampled twice a second. Run it on an idle machine.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)
PACKAGES = ("torch==2.13.0", "nnunetv2==2.8.1")
CONFIGURATIONS = {"nnU-Net": "3d_fullres", "kneeformer": "3d_vit"}


@dataclass(frozen=True)
class Cost:
    """Seconds of a command, and the peak memory of its processes in GiB."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Program:
    """One of the two, with its folders: `raw`, `preprocessed` and `results` inside `work`.

    Attributes:
        cores: that its processes may use.
    """

    name: str
    prefix: str
    scripts: Path
    work: Path
    cores: frozenset[int]

    @property
    def environment(self) -> dict[str, str]:
        folders = {part: self.work / part for part in ("raw", "preprocessed", "results")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {**os.environ, **{f"{self.prefix}_{part}": str(folder) for part, folder in folders.items()}}

    def run(self, *command: str | Path) -> Cost:
        """Run a script of the program to its end. Exits with the end of its output where it fails."""
        words = [str(self.scripts / command[0]), *map(str, command[1:])]
        environment, log, peak, start = self.environment, self.work / "log.txt", 0, time.perf_counter()
        os.sched_setaffinity(0, self.cores)  # of this thread, and of what it starts
        with log.open("w") as output:
            process = psutil.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                peak = max(peak, _memory(process))
                with suppress(psutil.TimeoutExpired):
                    process.wait(0.5)
        if process.returncode:
            sys.exit(f"{shlex.join(words)} failed:\n{log.read_text()[-3000:]}")
        return Cost(time.perf_counter() - start, peak / 2**30)


def _memory(root: psutil.Process) -> int:
    """Bytes of a process and its children, shared pages counted once."""
    total = 0
    with suppress(*GONE):
        for process in (root, *root.children(recursive=True)):
            with suppress(*GONE):
                total += process.memory_full_info().pss
    return total


@dataclass(frozen=True)
class Training:
    """What a training by the clock came to: Dice of the validation cases, seconds of a step, its cost."""

    dice: dict[str, float]
    step_seconds: float
    steps: int
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--minutes", type=float, nargs="*", default=[10, 30, 60])
    parser.add_argument("--nnunet", type=Path, default=None, metavar="VENV")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--cores", type=int, nargs="+", metavar="N", help="one for both, or one for each")
    parser.add_argument("--repeat", type=int, default=3, help="runs of what is short (default 3)")
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="kf_against_"))
    venv = arguments.nnunet or work / "nnunet"
    install(venv)
    cores = [frozenset({n}) for n in arguments.cores or ()] or [frozenset(os.sched_getaffinity(0))]
    programs = [
        Program("nnU-Net", "nnUNet", venv / "bin", work / "nnU-Net", cores[0]),
        Program("kneeformer", "kf", Path(sys.executable).parent, work / "kneeformer", cores[-1]),
    ]
    for program in programs:
        program.work.mkdir(parents=True, exist_ok=True)
    table = Table(work / "table.md")
    told = " and ".join(f"{p.name} on {len(p.cores)} of {os.cpu_count()} cores" for p in programs)
    table.line(f"{arguments.dataset.name}, {told}\n\n| | nnU-Net | kneeformer | ratio |\n|---|---|---|---|")
    compare(programs, arguments.dataset.resolve(), arguments.minutes, arguments.repeat, table)
    print(f"\nkept in {work}")


class Table:
    """Lines that are printed and kept in a file as soon as they are known."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_text("", encoding="utf-8")

    def line(self, text: str) -> None:
        print(text, flush=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def row(self, name: str, values: Sequence[float], digits: int = 2) -> None:
        """The ratio is nnU-Net's figure over ours."""
        theirs, ours = values
        ratio = f"{theirs / ours:.2f}" if ours else ""
        self.line(f"| {name} | {theirs:.{digits}f} | {ours:.{digits}f} | {ratio} |")


def install(venv: Path) -> None:
    """Make an environment with nnU-Net in it, unless it is there."""
    if (venv / "bin" / "nnUNetv2_train").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "-q", *PACKAGES], check=True)


def compare(
    programs: Sequence[Program], dataset: Path, minutes: Sequence[float], repeat: int, table: Table
) -> None:
    """Run everything on both programs, and add a row for each figure as soon as it is there."""
    number = str(int(dataset.name[7:10]))
    for program in programs:
        program.run(_script(program, "plan_and_preprocess"), "-h")  # the disk is warm for both
        with suppress(FileExistsError):
            (program.work / "raw" / dataset.name).symlink_to(dataset, target_is_directory=True)
    help_costs = _alternate(repeat, [(p, (_script(p, "train"), "-h")) for p in programs])
    table.row("`-h` of training, s", [c.seconds for c in help_costs])
    preparing = [
        (p, (_script(p, "plan_and_preprocess"), "-d", number, "-c", CONFIGURATIONS[p.name])) for p in programs
    ]
    costs = _alternate(repeat, preparing, fresh="preprocessed")
    table.row("plan and preprocess, s", [c.seconds for c in costs])
    table.row("... memory, GiB", [c.memory for c in costs])
    share_splits(programs, dataset.name)
    table.line(f"| batch and crop | {' | '.join(batch_and_crop(p, dataset.name) for p in programs)} | |")
    for limit in minutes:
        trainings = train_both(programs, dataset.name, limit)
        table.row(f"steps in {limit:g} min", [t.steps for t in trainings], digits=0)
        table.row("... seconds a step", [t.step_seconds for t in trainings], digits=3)
        table.row("... memory, GiB", [t.memory for t in trainings])
        for structure, *dice in zip(trainings[1].dice, *(t.dice.values() for t in trainings), strict=True):
            table.row(f"Dice after {limit:g} min, {structure}", dice, digits=3)
        table.row("... mean", [statistics.mean(t.dice.values()) for t in trainings], digits=3)
    if minutes:
        case = first_case(dataset, programs[1].work)
        costs = _alternate(repeat, [(p, prediction(p, number, case)) for p in programs], fresh="predicted")
        table.row("one case predicted, start to file, s", [c.seconds for c in costs])
        table.row("... memory, GiB", [c.memory for c in costs])


def _script(program: Program, name: str) -> str:
    return f"nnUNetv2_{name}" if program.prefix == "nnUNet" else f"kf_{name}"


def _alternate(
    times: int, jobs: Sequence[tuple[Program, Sequence[str | Path]]], fresh: str = "nothing"
) -> list[Cost]:
    """Median seconds and largest memory of each job. They take turns; `fresh` is a folder removed before."""
    costs: list[list[Cost]] = [[] for _ in jobs]
    for _ in range(times):
        for (program, command), job in zip(jobs, costs, strict=True):
            shutil.rmtree(program.work / fresh, ignore_errors=True)
            job.append(program.run(*command))
    return [Cost(statistics.median(c.seconds for c in job), max(c.memory for c in job)) for job in costs]


def share_splits(programs: Sequence[Program], dataset: str) -> None:
    """Give nnU-Net our splits, so that both train and validate on the same cases."""
    theirs, ours = (p.work / "preprocessed" / dataset / "splits_final.json" for p in programs)
    shutil.copy(ours, theirs)


def batch_and_crop(program: Program, dataset: str) -> str:
    """Of the plan, such as "2 x 24 x 128 x 128"."""
    plans = {"nnUNet": "nnUNetPlans.json", "kf": "kfPlans.json"}[program.prefix]
    text = (program.work / "preprocessed" / dataset / plans).read_text(encoding="utf-8")
    planned = json.loads(text)["configurations"][CONFIGURATIONS[program.name]]
    if program.prefix == "kf":
        batch, crop = planned["training"]["batch_size"], planned["training"]["crop"]
    else:
        batch, crop = planned["batch_size"], planned["patch_size"]
    return " x ".join(map(str, (batch, *crop)))


def train_both(programs: Sequence[Program], dataset: str, minutes: float) -> list[Training]:
    """Train one after the other, or at the same time where no core is shared."""
    at_once = 1 if programs[0].cores & programs[1].cores else 2
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda program: train(program, dataset, minutes), programs))


def train(program: Program, dataset: str, minutes: float) -> Training:
    """Train fold 0 for the minutes and validate it, unless that was done before."""
    done = program.work / f"training_{minutes:g}.json"
    if not done.exists():
        run = _train_nnunet if program.prefix == "nnUNet" else _train_kneeformer
        done.write_text(json.dumps(run(program, dataset, minutes).__dict__))
    return Training(**json.loads(done.read_text()))


def _train_kneeformer(program: Program, dataset: str, minutes: float) -> Training:
    cost = program.run(
        "kf_train", dataset, "3d_vit", "fold0", "--minutes", f"{minutes:g}", "--no_pretraining", "--overwrite"
    )
    fold = program.work / "results" / dataset / "kfPlans__3d_vit" / "fold_0"
    lines = [json.loads(line) for line in (fold / "training_log.jsonl").read_text().splitlines()]
    steps = max(line["step"] for line in lines if "step" in line)
    return Training(_dice(fold / "validation" / "summary.json"), 60 * minutes / steps, steps, cost.memory)


def _train_nnunet(program: Program, dataset: str, minutes: float) -> Training:
    script, steps_file = program.work / "train_by_the_clock.py", program.work / "steps.txt"
    script.write_text(_TRAIN_BY_THE_CLOCK)
    cost = program.run("python", script, dataset, f"{60 * minutes}", steps_file)
    fold = program.work / "results" / dataset / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    steps = int(steps_file.read_text())
    return Training(_dice(fold / "validation" / "summary.json"), 60 * minutes / steps, steps, cost.memory)


def _dice(summary: Path) -> dict[str, float]:
    """Mean Dice of each structure in the order of dataset.json; nnU-Net names them by value, we by name."""
    means = json.loads(summary.read_text())["mean"]
    return {key: scores["Dice"] for key, scores in means.items()}


def first_case(dataset: Path, work: Path) -> Path:
    """A folder with the channels of one training case."""
    folder = work / "one_case"
    folder.mkdir(exist_ok=True)
    first = min(path.name for path in (dataset / "imagesTr").iterdir() if "_0000." in path.name)
    for path in (dataset / "imagesTr").glob(first.replace("_0000.", "_*.")):
        shutil.copy(path, folder)
    return folder


def prediction(program: Program, number: str, case: Path) -> tuple[str | Path, ...]:
    """The command that predicts a folder with fold 0 into the folder `predicted`."""
    command = (_script(program, "predict"), "-i", case, "-o", program.work / "predicted", "-d", number)
    return (*command, "-c", CONFIGURATIONS[program.name], "-f", "0", "-device", "cpu")


_TRAIN_BY_THE_CLOCK = """
import sys, time
import torch
from nnunetv2.run import run_training
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

dataset, seconds, steps_file = sys.argv[1], float(sys.argv[2]), sys.argv[3]

class ByTheClock(nnUNetTrainer):
    def run_training(self):
        self.on_train_start()
        self.on_epoch_start()
        self.network.train()
        losses, start = [], time.perf_counter()
        while (share := (time.perf_counter() - start) / seconds) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - share) ** 0.9
            losses.append(self.train_step(next(self.dataloader_train)))
        with open(steps_file, "w") as file:
            file.write(str(len(losses)))
        self.current_epoch = 0
        self.on_train_end()

ByTheClock.__name__ = "nnUNetTrainer"  # the name in the checkpoint, by which prediction finds the class
run_training.recursive_find_trainer_class_by_name = lambda name: ByTheClock
if __name__ == "__main__":
    run_training.run_training(dataset, "3d_fullres", 0, device=torch.device("cpu"))
"""


if __name__ == "__main__":
    main()
