"""Masked pre-training varied: ratio and kind of masking, target, depth, decoder.

    python tests/benchmarks/pretraining_ablations.py DATASET_FOLDER --epochs 12 --pretraining_epochs 16 \
        [--labels 10] [--seeds 0] [--set training.batch_size=2] [--work DIR]

DATASET_FOLDER is a raw-data folder whose cases all have labels. The trainings are those of `kf_label_study
--arms A D --ablations`: each pre-training learns from all training images of fold 0, each fine-tuning from
`--labels` subjects. PSNR and SSIM are of hidden voxels of validation cases: as each network was trained, and
with the masks of the plan, the same for all. Intervals are 95 %: of PSNR and SSIM over cases, of Dice over
seeds and subjects. --work is kept, and what is trained there is not trained again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from kneeformer.data.files import read_json, write_text
from kneeformer.engine.checkpoint import load_network
from kneeformer.engine.loop import ProgressEvent
from kneeformer.metrics.bootstrap import mean_interval
from kneeformer.paths import FINAL, Folders
from kneeformer.plans import Plan, override, read_dataset_plan, read_fold_plan
from kneeformer.reporting.comparison_tables import interval_text, markdown
from kneeformer.studies.existing_training import ExistingTraining
from kneeformer.studies.label_arms import ABLATIONS, ALL_ARMS
from kneeformer.studies.label_study import LabelStudy, planned_trainings, run_label_study
from kneeformer.studies.label_table import Row
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.request import Request
from kneeformer.workflows.training_cases import learning_cases

_STAGES = ("3d_vit", "3d_mae")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--pretraining_epochs", type=int, required=True)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], help="of every training, as of kf_train")
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work, name = arguments.work or Path(tempfile.mkdtemp(prefix="kf_benchmark_")), arguments.dataset.name
    folders = Folders(work / "raw", work / "preprocessed", work / "results")
    prepare(folders, arguments.dataset.resolve(), arguments.set)
    study = LabelStudy(
        name,
        labels=(arguments.labels,),
        arms=("A", "D", *ABLATIONS),
        seeds=tuple(arguments.seeds),
        epochs=arguments.epochs,
        pretraining_epochs=arguments.pretraining_epochs,
    )
    rows, home = run_label_study(folders, study, tell, lambda *_: None)
    planned = planned_trainings(folders, home, study, Request(name, "3d_vit", 0))
    plan = read_dataset_plan(folders, name, "kfPlans")
    hidden = {settings: hidden_voxels(training, plan) for settings, training in planned.before.items()}
    text = table(rows, hidden)
    write_text(work / "ablations.md", text)
    print(f"\n{text}\nkept in {work}")


def prepare(folders: Folders, source: Path, settings: list[str]) -> None:
    """Plan and preprocess once, and write the settings into the plan."""
    folders.raw.mkdir(parents=True, exist_ok=True)
    if not (folders.raw / source.name).exists():
        (folders.raw / source.name).symlink_to(source)
    file = folders.plan_file(source.name)
    if not file.is_file():
        named = {**os.environ, **{f"kf_{key}": str(folder) for key, folder in vars(folders).items()}}
        command = [Path(sys.executable).parent / "kf_plan_and_preprocess", "-d", source.name, "-c", "3d_vit"]
        subprocess.run(command, env=named, check=True)
    plan = read_dataset_plan(folders, source.name, "kfPlans")
    for stage in _STAGES:
        plan = override(plan, stage, settings)
    write_text(file, plan.to_text())


def tell(event: ProgressEvent) -> None:
    if event.step % 100 == 0:
        print(f"step {event.step}, {event.share:.0%}, loss {event.loss:.3f}", flush=True)


def hidden_voxels(training: ExistingTraining, planned: Plan) -> list[str]:
    """PSNR and SSIM of a pre-training: with its own masks, and with those of the plan."""
    stage, same = training.request.configuration, training.folder / "planned_masks"
    if not (same / "masked_voxel_error.json").is_file():
        plan = read_fold_plan(training.folder)
        configuration = plan.configuration(stage)
        task = task_named(configuration.task)
        network = load_network(partial(task.network, plan.dataset, configuration), training.folder / FINAL)
        cases = learning_cases(training.folders, training.request, plan, lambda *_: None)
        masking = {"masking": planned.configuration(stage).masking}
        task.review(network.eval(), *cases, configuration.model_copy(update=masking), same)
    return [
        interval_text(mean_interval(case["network"][measure] for case in scores.values() if case), form)
        for scores in (
            read_json(f / "masked_voxel_error.json") for f in (training.folder / "validation", same)
        )
        for measure, form in (("psnr", ".2f"), ("ssim", ".3f"))
    ]


def table(rows: list[Row], hidden: dict[tuple[str, ...], list[str]]) -> str:
    """A line an arm of the study."""
    masks = [f"{m}, {which} masks" for which in ("own", "planned") for m in ("PSNR in dB", "SSIM")]
    lines = []
    for row in rows:
        arm = ALL_ARMS[row.arm]
        before = ["-"] * 4 if arm.pretraining is None else hidden[arm.pretraining]
        gain = "-" if row.gain is None else interval_text(row.gain, "+.2f")
        lines.append([arm.ablation or "as planned", arm.name, *before, interval_text(row.dice, ".4f"), gain])
    return markdown(["varied", "start", *masks, "Dice", "gain over scratch in points"], lines) + "\n"


if __name__ == "__main__":
    main()
