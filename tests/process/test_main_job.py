"""From a folder of files to label maps and scores, by the commands a user types."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from workplace import (
    NAME,
    SCRIPTS,
    TINY,
    Workplace,
    finish,
    log_lines,
    losses,
    read_json,
    same_place,
    wait_for,
)

from kneeformer.data.images import read_image
from kneeformer.metrics.summary import read_summary
from kneeformer.tasks.registry import predictive, task_named, task_names

COMMANDS = {
    "kf_plan": ("-d", "1"),
    "kf_preprocess": ("-d", "1"),
    "kf_plan_and_preprocess": ("-d", "1"),
    "kf_train": ("1", "3d_vit", "0"),
    "kf_predict": ("-i", ".", "-o", "out", "-d", "1"),
    "kf_evaluate": (".", ".", "-d", "1"),
    "kf_find_best_configuration": ("1",),
}


LABELLING = [n for n in task_names() if task_named(n).predicts and predictive(n).predicts_structures]


def test_every_other_task_has_tests_of_its_own() -> None:
    others = {  # test_pretraining.py, test_complete_bones.py, tests/mri_reconstruction
        *("pretraining", "completion", "registration", "reconstruction", "reconstruction_pretraining"),
    }
    assert set(task_names()) - set(LABELLING) == others


@pytest.mark.parametrize("task", LABELLING)
def test_main_job(task: str, raw: Workplace, tmp_path: Path) -> None:
    place = raw.copy(tmp_path / "place")
    file = place.raw / "dataset.json"
    description = read_json(file) | {"task": task}
    file.write_text(json.dumps(description))

    said = place.run("kf_plan_and_preprocess", "-d", 1)
    plan = read_json(place.preprocessed / "kfPlans.json")
    name, configuration = next(iter(plan["configurations"].items()))
    assert str(place.preprocessed / "kfPlans.json") in said
    planned = {c["task"] for c in plan["configurations"].values() if "task" in c}
    assert planned == {task, *task_named(task).prepared_by}
    cost = configuration["evidence"]["measured"]
    assert cost["seconds_per_step"] > 0
    assert cost["memory_mb"] > 0
    assert (place.preprocessed / "dataset_fingerprint.json").is_file()
    stored = {p.name for p in (place.preprocessed / configuration["preprocessing"]["folder"]).iterdir()}
    assert {f"phantom_{i:02d}.{e}" for i in (*range(1, 7), 10) for e in ("b2nd", "json")} <= stored
    labels = place.preprocessed / configuration["preprocessing"]["folder"] / "labels"
    assert {p.name for p in labels.iterdir()} == {f"phantom_{i:02d}.b2nd" for i in range(1, 7)}

    said = place.run("kf_train", 1, name, "fold0", *TINY)
    fold = place.root / "results" / NAME / f"kfPlans__{name}" / "fold_0"
    assert f"training {name} on cpu: 4 cases, 2 for validation; crop " in said and "; 2 x 4 steps, " in said
    assert str(fold) in said
    files = {str(p.relative_to(fold)) for p in fold.rglob("*") if p.is_file()}
    wanted = {f"checkpoint_{c}.pt" for c in ("best", "latest", "final")}
    assert wanted | {"plan.json", "run.json", "training_log.jsonl", "progress.png"} <= files
    assert {"validation/summary.json", "validation/summary.csv"} <= files
    assert not [f for f in files if "unfinished" in f or ".writing" in f]
    assert len(losses(fold)) == 8

    output = place.root / "predictions"
    place.run("kf_predict", "-i", place.raw / "imagesTs", "-o", output, "-d", 1, "-c", name)
    declared = set(description["labels"].values())
    for number in (7, 8, 9):
        image = read_image(place.raw / "imagesTs" / f"phantom_{number:02d}_0000.nrrd")
        predicted = read_image(output / f"phantom_{number:02d}.nrrd")
        assert same_place(predicted.grid, image.grid)
        assert set(np.unique(predicted.array).tolist()) <= declared

    said = place.run("kf_evaluate", place.raw / "labelsTs", output, "-d", 1)
    assert str(output / "summary.json") in said
    summary = read_summary(output)
    assert summary.cases == 3
    assert set(summary.mean) == set(description["labels"]) - {"background"}
    assert all(structure in said for structure in summary.mean)
    assert {"Dice", "IoU", "Precision", "Recall", "HD95_mm", "ASSD_mm", "VolumeError"} <= set(
        summary.foreground_mean
    )


def test_what_a_fold_was_trained_by_is_kept(trained: Workplace) -> None:
    fold = trained.model / "fold_0"
    (configuration,) = read_json(fold / "plan.json")["configurations"].values()
    assert configuration["network"]["depth"] == 1
    assert configuration["training"]["epochs"] == 2
    run = read_json(fold / "run.json")
    assert run["seed"] == 0
    assert {"network.depth=1", "training.epochs=2"} <= set(run["set"])
    assert {"kneeformer", "torch", "machine", "started", "device", "threads"} <= set(run)


def test_validation_is_of_whole_unseen_subjects(trained: Workplace) -> None:
    splits = read_json(trained.preprocessed / "splits_final.json")
    subjects = read_json(trained.raw / "dataset.json")["subjects"]
    assert len(splits) == 3
    for split in splits:
        assert not {subjects[c] for c in split["train"]} & {subjects[c] for c in split["val"]}
    assert sorted(c for s in splits for c in s["val"]) == sorted(subjects)
    for fold in (0, 1):
        validation = trained.model / f"fold_{fold}" / "validation"
        assert {p.stem for p in validation.glob("*.nrrd")} == set(splits[fold]["val"])
        assert {c.case for c in read_summary(validation).metric_per_case} == set(splits[fold]["val"])
        assert read_summary(validation).subjects == 1


def test_the_linear_baseline_shares_the_prepared_cases(fresh: Workplace) -> None:
    fresh.run("kf_train", NAME, "3d_vit_linear", "2", *TINY)
    assert (
        fresh.model.parent / "kfPlans__3d_vit_linear" / "fold_2" / "validation" / "summary.json"
    ).is_file()


def test_every_case_trains_in_fold_all(fresh: Workplace) -> None:
    said = fresh.run("kf_train", NAME, "3d_vit", "all", *TINY)
    assert "none is left to validate on" in said
    assert (fresh.model / "fold_all" / "checkpoint_final.pt").is_file()
    assert not (fresh.model / "fold_all" / "validation").exists()
    fresh.run("kf_predict", "-i", fresh.raw / "imagesTs", "-o", fresh.root / "out", "-d", 1, "-f", "all")
    assert len(list((fresh.root / "out").glob("*.nrrd"))) == 3


def test_only_what_changed_is_preprocessed_again(fresh: Workplace) -> None:
    folder = fresh.preprocessed / "3d_vit"
    before = times(folder)
    assert "all cases unchanged" in fresh.run("kf_preprocess", "-d", 1, "-c", "3d_vit", "-np", 1)
    assert times(folder) == before

    changed = fresh.raw / "imagesTr" / "phantom_03_0000.nrrd"
    shutil.copy(fresh.raw / "imagesTr" / "phantom_04_0000.nrrd", changed)
    shutil.copy(fresh.raw / "labelsTr" / "phantom_04.nrrd", fresh.raw / "labelsTr" / "phantom_03.nrrd")
    assert "1 cases made" in fresh.run("kf_preprocess", "-d", 1, "-c", "3d_vit", "-np", 1)
    after = times(folder)
    assert {name for name in after if after[name] != before.get(name)} == {
        *("phantom_03.json", "phantom_03.b2nd", "labels/phantom_03.b2nd")
    }


def times(folder: Path) -> dict[str, int]:
    """When each file of a folder of prepared cases was written."""
    files = [p for p in folder.rglob("[!.]*") if p.is_file()]
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in files}


def test_a_finished_fold_is_not_overwritten(trained: Workplace, tmp_path: Path) -> None:
    place = trained.copy(tmp_path / "place")
    fold = place.model / "fold_0"
    before = (fold / "checkpoint_final.pt").read_bytes()
    said = place.run("kf_train", 1, "3d_vit", "0", *TINY, code=1)
    assert "--overwrite" in said
    assert "--val" in said
    (fold / "warnings.log").write_text("2026-01-01 00:00:00  of the training that stands\n")
    said = place.run("kf_train", 1, "3d_vit", "0", "--overwrite", "--set", "training.nonsense=1", code=1)
    assert "training.nonsense" in said
    assert "of the training that stands" in (fold / "warnings.log").read_text()
    assert (fold / "checkpoint_final.pt").read_bytes() == before, "a refused command takes nothing away"

    (fold / "validation" / "summary.json").unlink()
    description = place.raw / "dataset.json"  # its predictions have the plan's ending, .nrrd
    description.write_text(json.dumps(json.loads(description.read_text()) | {"file_ending": ".mha"}))
    place.run("kf_train", 1, "3d_vit", "0", "--val")
    assert (fold / "validation" / "summary.json").is_file()
    assert (fold / "checkpoint_final.pt").read_bytes() == before

    place.run("kf_train", 1, "3d_vit", "0", "--overwrite", *TINY, "--seed", 3)
    assert (fold / "checkpoint_final.pt").read_bytes() != before
    assert not (fold / "warnings.log").exists()


def test_two_trainings_of_a_fold_are_refused(fresh: Workplace) -> None:
    first = fresh.start("kf_train", 1, "3d_vit", "0", *TINY, "--epochs", 1000)
    try:
        wait_for(lambda: bool(log_lines(fresh.model / "fold_0")))
        said = fresh.run("kf_train", 1, "3d_vit", "fold0", *TINY, "--overwrite", code=1)
        assert "another kf_train is training this fold" in said
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def test_one_seed_one_course(trained: Workplace, fresh: Workplace, tmp_path: Path) -> None:
    other = fresh.copy(tmp_path / "other")
    settings = (*TINY, "--set", "training.steps_per_epoch=10")
    for place in (fresh, other):
        place.run("kf_train", 1, "3d_vit", "0", *settings, "--seed", 7)
    first, second, seed_0 = (losses(p.model / "fold_0") for p in (fresh, other, trained))
    assert len(first) == 20
    assert first == second
    assert first[:8] != seed_0


def test_minutes_end_on_time_and_well(fresh: Workplace) -> None:
    one_epoch = ("--set", "training.steps_per_epoch=100000")  # so that the clock ends a step, not an epoch
    fresh.run("kf_train", 1, "3d_vit", "0", *TINY, *one_epoch, "--minutes", 0.07)  # with --epochs 2
    steps = [line for line in log_lines(fresh.model / "fold_0") if "loss" in line]
    (last,) = [line for line in log_lines(fresh.model / "fold_0") if "validation_loss" in line]
    assert 4.2 <= last["seconds"] <= 4.2 + 4
    rates = [s["learning_rate"] for s in steps]
    assert rates[-1] < 0.05 * max(rates)


NEEDED = {
    **dict.fromkeys(("kf_plan", "kf_preprocess", "kf_plan_and_preprocess"), ("raw", "preprocessed")),
    "kf_evaluate": ("raw",),
    "kf_predict": ("results",),
}


@pytest.mark.parametrize("script", COMMANDS)
def test_folders_must_be_named(script: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("kf_")}
    process = subprocess.Popen(
        [SCRIPTS / script, *COMMANDS[script]],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = finish(process, code=1)
    needed = NEEDED.get(script, ("raw", "preprocessed", "results"))
    assert re.findall(r'export kf_(\w+)="', said) == list(needed)


def test_what_does_not_exist_is_told_with_what_does(planned: Workplace) -> None:
    def fault(*command: object) -> str:
        return planned.run(*command, code=1)

    assert "3d_vit, 3d_vit_linear" in fault("kf_train", 1, "3d_vit_huge", "0", *TINY)
    assert "folds 0 to 2" in fault("kf_train", 1, "3d_vit", "9", *TINY)
    assert "Dataset001_Knee" in fault("kf_preprocess", "-d", 5)
    assert "start without --c" in fault("kf_train", 1, "3d_vit", "0", "--c")
    assert "nothing to validate" in fault("kf_train", 1, "3d_vit", "0", "--val")
    assert "keys: " in fault("kf_train", 1, "3d_vit", "0", "--set", "training.speed=1")
    assert "kf_train" in fault("kf_predict", "-i", planned.raw / "imagesTs", "-o", "out", "-d", 1)
    assert not (planned.root / "out").exists()
    assert not [p for p in planned.model.parent.glob("*/*/*") if not p.name.startswith(".")]


def test_an_nnunet_dataset_with_regions_and_ignored_voxels(two_channels: Workplace, tmp_path: Path) -> None:
    place = two_channels
    place.run("kf_predict", "-i", place.raw / "imagesTs", "-o", tmp_path, "-d", 1)
    for case in ("test0", "test1", "test2"):
        predicted = read_image(tmp_path / f"{case}.nii.gz")
        image = read_image(place.raw / "imagesTs" / f"{case}_0000.nii.gz")
        # NIfTI keeps cosines as float32, and ITK makes them orthogonal again: the last bit may change
        assert same_place(predicted.grid, image.grid, cosine_tolerance=2**-23)
        assert set(np.unique(predicted.array).tolist()) <= {0, 1, 2, 3}
    place.run("kf_evaluate", place.raw / "labelsTs", tmp_path)  # by the dataset in which labelsTs lies
    assert set(read_summary(tmp_path).mean) == {"femur", "cartilage", "tibia"}
    said = place.run("kf_evaluate", tmp_path, tmp_path, code=1)
    assert f"{tmp_path}: in no dataset whose dataset.json defines the labels; name one with -d" in said
