"""Every command in folders that it may not write in, and on a disk that fills; what became of it, counted.

python tests/benchmarks/disk_faults.py [COMMAND ...]

Mounts file systems and takes the rights of root away, so it runs as root on Linux.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "process")]

from coarse_bones import coarsen
from faulty_disks import read_only, small_disk
from workplace import SCRIPTS, SHAPE, SPACING_MM, TINY, Workplace, read_json

from kneeformer.data.images import read_image, write_image
from kneeformer.data.segmentation_file import Segment, write_segmentation
from kneeformer.phantoms.bone import write_bone_dataset
from kneeformer.phantoms.knee import write_phantom_dataset

DISK_BYTES = 64 << 20
_RIGHTS = "-dac_override,-dac_read_search"  # by which root may write anywhere
NO_PERMISSION = ("setpriv", "--bounding-set", _RIGHTS, "--inh-caps", _RIGHTS)
READ_ONLY, FORBIDDEN = "read-only disk", "no permission"
FREE_KB = {f"{kb} KB free": kb for kb in (0, 8, 64, 320)}  # when the command begins
FAULTS = (READ_ONLY, FORBIDDEN, *FREE_KB)
MASKS, LABELS = (f"raw/Dataset001_Knee/{name}" for name in ("masksTs", "labelsTs"))

Words = tuple[object, ...]


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        begins: in this state of the place.
        writes: in this folder of the place, whose disk is at fault.
    """

    begins: str
    writes: str
    words: Words


def predict(*flags: object) -> Words:
    return ("kf_predict", "-i", "raw/Dataset001_Knee/imagesTs", "-o", "out", "-d", 1, *flags)


STUDY = ("--labels", 1, "--seeds", 0, "--epochs", 1, "--pretraining_epochs", 1)
TRAIN, TRAIN_BONES = ("kf_train", 1, "3d_vit", "0", *TINY), ("kf_train", 1, "3d_pca16", "0")
JOBS = {
    "kf_plan": Job("raw", "preprocessed", ("kf_plan", "-d", 1)),
    "kf_preprocess": Job("planned", "preprocessed", ("kf_preprocess", "-d", 1, "-c", "3d_vit")),
    "kf_plan_and_preprocess": Job("raw", "preprocessed", ("kf_plan_and_preprocess", "-d", 1, "-c", "3d_vit")),
    "kf_train": Job("prepared", "results", TRAIN),
    "kf_predict": Job("trained", "out", predict()),
    "kf_predict --save_probabilities": Job("trained", "out", predict("--save_probabilities")),
    "kf_evaluate": Job("trained", "out", ("kf_evaluate", LABELS, LABELS, "-d", 1, "-o", "out")),
    "kf_find_best_configuration": Job("trained", "results", ("kf_find_best_configuration", 1)),
    "kf_compare_with_paper": Job("trained", "results", ("kf_compare_with_paper", "-d", 1)),
    "kf_label_study": Job("prepared", "results", ("kf_label_study", 1, "--arms", "A", "D", *STUDY)),
    "kf_demo": Job("raw", "out", ("kf_demo", "out", "--minutes", 0.05)),
    "kf_train of bones": Job("bones", "results", TRAIN_BONES),
    "kf_predict of bones": Job("trained bones", "out", predict("-c", "3d_pca16", "-m", MASKS)),
    "kf_export_mesh": Job("raw", "out", ("kf_export_mesh", LABELS, "out", "-d", 1)),
    "kf_export_model": Job("trained", "out", ("kf_export_model", "-d", 1, "-o", "out/knee.kfm")),
    "kf_install_model": Job("exported", "results", ("kf_install_model", "knee.kfm")),
    "kf_import_slicer": Job("exports", "raw", ("kf_import_slicer", "exports", "-d", 7, "--name", "Knee")),
    "kf_import_msd": Job("exports", "raw", ("kf_import_msd", "decathlon", "-d", 8, "--name", "Knee")),
    "kf_completion_table": Job("bones", "results", ("kf_completion_table", 1, "-c", "3d_pca16", "-f", 0)),
}


def main(wanted: list[str]) -> None:
    every = Counter[str](
        {"tracebacks": 0, "files changed": 0, "left over": 0, "without a sentence": 0, "did not go on": 0}
    )
    with tempfile.TemporaryDirectory() as folder:
        states = make_states(Path(folder))
        for name, job in JOBS.items():
            if not wanted or name in wanted:
                for fault in FAULTS:
                    every += befall(states[job.begins], job, name, fault)
    for what in ("tracebacks", "files changed", "left over", "without a sentence", "did not go on"):
        print(f"{every.pop(what, 0)} {what}", end=", ")
    print(", ".join(f"{number} {what}" for what, number in every.items()))


def make_states(folder: Path) -> dict[str, Workplace]:
    knees, bones = Workplace(folder / "raw"), Workplace(folder / "bones")
    for place in (knees, bones):
        for name in ("preprocessed", "results", "out"):
            (place.root / name).mkdir(parents=True)
        (place.root / "out" / "mine.txt").write_text("of the user")
    write_phantom_dataset(knees.raw, 6, seed=1, test=3, shape=SHAPE, spacing_mm=SPACING_MM)
    write_bone_dataset(bones.raw, 6, seed=1, test=2, spacing_mm=(1.8, 1.8, 1.8))
    bones.run("kf_plan", "-d", 1)
    coarsen(bones.preprocessed / "kfPlans.json", 4.0)
    bones.run("kf_preprocess", "-d", 1, "-c", "3d_pca16")
    states = {"raw": knees, "bones": bones}
    for state, before, words in (
        ("planned", "raw", ("kf_plan", "-d", 1)),
        ("prepared", "planned", ("kf_preprocess", "-d", 1)),
        ("trained", "prepared", TRAIN),
        ("trained bones", "bones", TRAIN_BONES),
    ):
        states[state] = states[before].copy(folder / state)
        states[state].run(*words)
    states["exports"] = knees.copy(folder / "exports")
    make_exports(states["exports"])
    states["exported"] = states["trained"].copy(folder / "exported")
    states["exported"].run("kf_export_model", "-d", 1, "-c", "3d_vit", "-o", "knee.kfm")
    shutil.rmtree(states["exported"].root / "results")
    (states["exported"].root / "results").mkdir()
    return states


def make_exports(place: Workplace) -> None:
    """Write the training knees as 3D Slicer would, in `exports`, and as the Decathlon, in `decathlon`."""
    slicer, decathlon = place.root / "exports", place.root / "decathlon"
    labels = read_json(place.raw / "dataset.json")["labels"]
    segments = [Segment(name, value) for name, value in labels.items() if value]
    cases = sorted(file.stem for file in (place.raw / "labelsTr").glob("[!.]*.nrrd"))
    for case in cases:
        scan, label = (
            read_image(place.raw / folder / name)
            for folder, name in (("imagesTr", f"{case}_0000.nrrd"), ("labelsTr", f"{case}.nrrd"))
        )
        write_image(slicer / f"{case}.nrrd", scan.array, scan.grid)
        write_segmentation(slicer / f"{case}.seg.nrrd", label.array, label.grid, segments)
        write_image(decathlon / "imagesTr" / f"{case}.nii.gz", scan.array, scan.grid)
        write_image(decathlon / "labelsTr" / f"{case}.nii.gz", label.array, label.grid)
    training = [{k: f"./{k}sTr/{case}.nii.gz" for k in ("image", "label")} for case in cases]
    names = {str(value): name for name, value in labels.items()}
    description = {"modality": {"0": "MRI"}, "labels": names, "training": training, "test": []}
    (decathlon / "dataset.json").write_text(json.dumps(description))


def befall(state: Workplace, job: Job, name: str, fault: str) -> "Counter[str]":
    """A command in a copy of the state with the fault, and again without it; counts."""
    place, counts = Workplace(state.root.with_name("faulty")), Counter[str]({"commands": 1})
    target = place.root / job.writes
    shutil.copytree(state.root, place.root)
    try:
        with faulty(target, fault):
            code, said = ended(place, job.words, NO_PERMISSION if fault == FORBIDDEN else ())
            counts["files changed"] += changed(state, place)
        counts.update(judged(code, said))
        line = next((line for line in said.splitlines() if line.startswith("error: ")), "")
        print(f"{name}, {fault}: {code} {line.replace(str(place.root), '')[:150]}", flush=True)
        if code and fault in FREE_KB:
            told = [line.strip() for line in said.splitlines() if line.startswith("    kf_")]
            code, said = ended(place, tuple(shlex.split(told[-1])) if told else job.words)
            counts["went on" if code == 0 else "did not go on"] += 1
            if code:
                print(said)
        counts["left over"] += sum(".unfinished." in file.name for file in place.root.rglob(".*"))
    finally:
        shutil.rmtree(place.root)
    return counts


def judged(code: int, said: str) -> list[str]:
    """What is counted of a command's end."""
    if "Traceback" in said or code not in (0, 1):
        print(said)
        return ["tracebacks"]
    sentences = sum(line.startswith("error: ") for line in said.splitlines())
    if (code == 0) == (sentences == 0):
        return ["refused or stopped in a sentence" if code else "ended well"]
    print(said)
    return ["without a sentence"]


@contextmanager
def faulty(folder: Path, fault: str) -> Iterator[None]:
    """The fault, in and below a folder."""
    if fault == READ_ONLY:
        with read_only(folder):
            yield
    elif fault == FORBIDDEN:
        folders = [folder, *(f for f in folder.rglob("*") if f.is_dir())]
        for each in folders:
            each.chmod(0o555)
        yield
        for each in folders:
            each.chmod(0o755)
    else:
        beside = folder.with_name("beside")
        shutil.copytree(folder, beside)
        with small_disk(folder, DISK_BYTES):
            shutil.copytree(beside, folder, dirs_exist_ok=True)
            free = shutil.disk_usage(folder).free - (FREE_KB[fault] << 10)
            (folder / "filler").write_bytes(bytes(free))
            yield
            (folder / "filler").unlink()
            shutil.rmtree(beside)
            shutil.copytree(folder, beside)
        shutil.copytree(beside, folder, dirs_exist_ok=True)
        shutil.rmtree(beside)


def ended(place: Workplace, words: Words, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status of a command, and what it said; by another program `before` it, in a new interpreter."""
    if not before:
        process = place.start(*words)
        said = "".join(process.communicate(timeout=600))
        return process.returncode or 0, said
    folders = {f"kf_{name}": str(place.root / name) for name in ("raw", "preprocessed", "results")}
    new = subprocess.run(
        [*before, str(SCRIPTS / str(words[0])), *map(str, words[1:])],
        cwd=place.root,
        env=os.environ | folders,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return new.returncode, new.stdout + new.stderr


def changed(state: Workplace, place: Workplace) -> int:
    """How many files of the state are other ones in the place, or gone."""
    files = [f.relative_to(state.root) for f in state.root.rglob("*") if f.is_file()]
    return sum(digest(state.root / file) != digest(place.root / file) for file in files)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "gone"


if __name__ == "__main__":
    main(sys.argv[1:])
