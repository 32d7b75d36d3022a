"""Commands killed at random moments, and gone on with: is the result what it is without a kill?

python tests/benchmarks/kills.py [KILLS A JOB, 5] [SEED, 0]

A job gets SIGKILL, SIGTERM and SIGINT in turn, the last as a terminal sends it: to every process, three
times. If the command can still print the line that resumes it, that line is typed next.
"""

import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "process")]

from coarse_bones import coarsen
from workplace import SHAPE, SPACING_MM, TINY, Workplace, log_lines, read_json

from kneeformer.data.storage import verified_manifest
from kneeformer.engine.checkpoint import load_checkpoint
from kneeformer.phantoms.bone import write_bone_dataset
from kneeformer.phantoms.knee import write_phantom_dataset
from kneeformer.plans import read_plan
from kneeformer.workflows.fold_state import FoldState

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
IN_A_ROW = 3  # kills before the command may end
COLUMNS = ("kills", "SIGKILL", "SIGTERM", "SIGINT", "equal", "different", "traceback", "orphan", "left over")

Words = tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        after_a_kill: what is typed where the command could tell nothing.
        result: what it makes, to be compared.
    """

    words: Words
    after_a_kill: Callable[[Workplace], Words]
    result: Callable[[Workplace], Any]


def planned(place: Workplace) -> Any:
    plan = read_plan(place.preprocessed / "kfPlans.json").without_evidence().to_text()
    return plan, read_json(place.preprocessed / "splits_final.json")


def prepared(place: Workplace) -> Any:
    """What each record says, checksums of the voxels included; they are compared with the files here."""
    folders = [folder for folder in place.preprocessed.iterdir() if folder.is_dir()]
    return [
        verified_manifest(folder, file.stem)
        for folder in sorted(folders)
        for file in sorted(folder.glob("[!.]*.json"))
    ]


def trained(configuration: str) -> Callable[[Workplace], Any]:
    def result(place: Workplace) -> Any:
        fold = place.model.with_name(f"kfPlans__{configuration}") / "fold_0"
        network = load_checkpoint(fold / "checkpoint_final.pt")["network"]
        log = [{k: v for k, v in line.items() if k != "seconds"} for line in log_lines(fold)]
        weights = {name: tensor.numpy().tobytes() for name, tensor in network.items()}
        return weights, log, read_json(fold / "validation" / "summary.json")

    return result


def predicted(place: Workplace) -> Any:
    return {file.name: file.read_bytes() for file in (place.root / "out").glob("[!.]*")}


def again(*words: str, result: Callable[[Workplace], Any]) -> Job:
    """A command that goes on when it is typed again."""
    return Job(words, lambda _: words, result)


def training(configuration: str, *flags: str) -> Job:
    name: Words = ("kf_train", "1", configuration, "0")

    def go_on(place: Workplace) -> Words:
        state = FoldState.of(place.model.with_name(f"kfPlans__{configuration}") / "fold_0")
        flag = {FoldState.STOPPED: ("--c",), FoldState.TRAINED: ("--val",)}
        return (*name, *flag.get(state, flags))

    return Job((*name, *flags), go_on, trained(configuration))


def prediction(*flags: str) -> Job:
    words: Words = ("kf_predict", "-i", "many", "-o", "out", "-d", "1", *flags)
    return Job(words, lambda _: (*words, "--continue_prediction"), predicted)


KNEES = {
    "kf_plan": again("kf_plan", "-d", "1", result=planned),
    "kf_preprocess": again("kf_preprocess", "-d", "1", "-c", "3d_vit", result=prepared),
    "kf_train, segmentation": training("3d_vit", *TINY, "--epochs", "12", "--seed", "5"),
    "kf_predict, segmentation": prediction(),
}
BONES = {
    "kf_train, completion": training("3d_pca16"),
    "kf_predict, completion": prediction("-c", "3d_pca16", "-m", "raw/Dataset001_Knee/masksTs"),
}


def main(kills: int = 5, seed: int = 0) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # losses are equal on as many threads
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for its background
    chance = random.Random(seed)
    print(f"| command | {' | '.join(COLUMNS)} | seconds undisturbed |")
    every: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for make, jobs in ((make_knees, KNEES), (make_bones, BONES)):
            place = Workplace(Path(folder) / make.__name__)
            make(place)
            for what, job in jobs.items():
                counts, seconds = counted(place, job, kills, chance, Path(folder))
                print(row(what, counts, f"{seconds:.0f}"), flush=True)
                every.update(counts)
    print(row("all", every, ""))
    print(", ".join(f"{number} {what}" for what, number in every.items() if what not in COLUMNS))


def row(what: str, counts: "Counter[str]", seconds: str) -> str:
    return f"| {what} | {' | '.join(str(counts[c]) for c in COLUMNS)} | {seconds} |"


def make_knees(place: Workplace) -> None:
    write_phantom_dataset(place.raw, 6, seed=1, test=3, shape=SHAPE, spacing_mm=SPACING_MM)
    copies(place, 12)


def make_bones(place: Workplace) -> None:
    write_bone_dataset(place.raw, 6, seed=1, test=3, spacing_mm=(1.8, 1.8, 1.8))
    copies(place, 3)
    place.run("kf_plan", "-d", 1)
    coarsen(place.preprocessed / "kfPlans.json", 4.0)
    place.run("kf_preprocess", "-d", 1, "-c", "3d_pca16")


def copies(place: Workplace, number: int) -> None:
    """A folder of so many images to predict; where they are as many as there are, of the same names."""
    (place.root / "many").mkdir()
    images = sorted((place.raw / "imagesTs").iterdir())
    for i in range(number):
        name = images[i].name if number == len(images) else f"knee{i:02d}_0000.nrrd"
        shutil.copy(images[i % len(images)], place.root / "many" / name)


def counted(
    place: Workplace, job: Job, kills: int, chance: random.Random, folder: Path
) -> tuple[Counter[str], float]:
    """Kill a job so often, in copies of the place; in the place itself it is done undisturbed."""
    before, counts = folder / "before", Counter[str]()
    shutil.copytree(place.root, before)
    started = time.monotonic()
    place.run(*job.words)
    seconds, wanted = time.monotonic() - started, job.result(place)
    within = seconds
    while counts["kills"] < kills:
        disturbed = Workplace(folder / "disturbed")
        shutil.copytree(before, disturbed.root)
        if not go_through(disturbed, job, min(kills, counts["kills"] + IN_A_ROW), within, chance, counts):
            within *= 0.7  # the machine has less to do than it had
        counts["equal" if job.result(disturbed) == wanted else "different"] += 1
        counts["left over"] += sum(is_left_over(file) for file in disturbed.root.rglob(".*"))
        shutil.rmtree(disturbed.root)
    shutil.rmtree(before)
    return counts, seconds


def is_left_over(file: Path) -> bool:
    return ".unfinished." in file.name or file.name.startswith(".writing-")


def go_through(
    place: Workplace, job: Job, kills: int, within: float, chance: random.Random, counts: "Counter[str]"
) -> bool:
    """Kill a command within so many seconds, and go on, until so many kills are counted; then let it end.

    Returns:
        False where it ended before it was killed as often.
    """
    words = job.words
    while counts["kills"] < kills:
        number = SIGNALS[counts["kills"] % len(SIGNALS)]
        said = killed(place, words, number, chance.uniform(0.1, 1.0) * within, counts)
        if said is None:  # it was quicker than the kill
            return False
        told = [line.strip() for line in said.splitlines() if line.startswith("    kf_")]
        words = tuple(shlex.split(told[-1])) if told else job.after_a_kill(place)
        if number != signal.SIGKILL:
            counts["told what goes on" if told else "told nothing"] += 1
    place.run(*words)
    return True


def killed(
    place: Workplace, words: Words, number: signal.Signals, after: float, counts: "Counter[str]"
) -> str | None:
    """What a command said that got a signal so many seconds after its start; None where it ended before."""
    process, until = place.start(*words), time.monotonic() + after
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    family = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
    for _ in range(3 if number == signal.SIGINT else 1):
        for pid in (process.pid, *(child.pid for child in family if number == signal.SIGINT)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(0.05)
    said = "".join(process.communicate(timeout=300))
    if process.returncode == 0:
        return None
    counts.update(["kills", number.name])
    print(f"{shlex.join(words)}: {number.name} after {after:.1f} s", file=sys.stderr, flush=True)
    if "Traceback" in said or "Exception ignored" in said:
        counts["traceback"] += 1
        print(said, file=sys.stderr, flush=True)
    _, alive = psutil.wait_procs(family, timeout=10)
    counts["orphan"] += len(alive)
    return said


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
