"""From broken bones and their masks to whole ones, by the commands a user types."""

import math
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from coarse_bones import coarsen
from stl import read_stl
from workplace import NAME, Workplace, read_json, same_place

from kneeformer.data.images import read_image, write_image
from kneeformer.geometry.grid import Grid
from kneeformer.metrics.summary import read_summary
from kneeformer.phantoms.bone import write_bone_dataset
from kneeformer.plans import read_plan
from kneeformer.tasks.bone_completion.settings import BoneGridSettings
from kneeformer.workflows.predicted_by import PREDICTED_BY

TRAINING, TESTS = 6, ("phantom07_R", "phantom08_L")
MODEL, FINDER = "3d_pca16", "3d_segmentation"
SUFFIXES = ("", "_ct", "_region", "_raw", "_uncertainty")


@dataclass(frozen=True)
class Learnt:
    """A trained place, what its commands said, and its answers for the test cases."""

    place: Workplace
    planning: str
    training: str
    output: Path

    @property
    def images(self) -> Path:
        return self.place.raw / "imagesTs"

    @property
    def masks(self) -> Path:
        return self.place.raw / "masksTs"

    @property
    def fold(self) -> Path:
        return self.place.model.parent / f"kfPlans__{MODEL}" / "fold_0"

    @property
    def grid(self) -> BoneGridSettings:
        """What the trained fold says of its bones."""
        settings = read_plan(self.fold / "plan.json").configuration(MODEL).preprocessing
        assert isinstance(settings, BoneGridSettings)
        return settings

    def predict(
        self, masks: Path | None, output: Path, *flags: str, images: Path | None = None, code: int = 0
    ) -> str:
        given = () if masks is None else ("-m", masks)
        what = ("-i", images or self.images, "-o", output, "-d", 1, "-c", MODEL)
        return self.place.run("kf_predict", *what, *given, *flags, code=code)

    def array(self, case: str, suffix: str = "") -> np.ndarray:
        return read_image(self.output / f"{case}{suffix}.nrrd").array

    def mask(self, case: str) -> np.ndarray:
        return read_image(self.masks / f"{case}.nrrd").array

    def grid_of(self, case: str) -> Grid:
        return read_image(self.masks / f"{case}.nrrd").grid


def linear_part(file: Path) -> np.ndarray:
    """(3, 3) of a transform, as ITK reads it."""
    return np.reshape(sitk.AffineTransform(sitk.ReadTransform(str(file))).GetMatrix(), (3, 3))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    place = Workplace(tmp_path_factory.mktemp("bones"))
    write_bone_dataset(place.raw, TRAINING, seed=1, test=len(TESTS), spacing_mm=(1.8, 1.8, 1.8))
    planning = place.run("kf_plan", "-d", 1, "-np", 1)
    coarsen(place.preprocessed / "kfPlans.json", 4.0)
    place.run("kf_preprocess", "-d", 1, "-c", MODEL, FINDER, "-np", 1)
    training = place.run("kf_train", 1, MODEL, "fold0")
    found = Learnt(place, planning, training, place.root / "out")
    found.predict(found.masks, found.output)
    return found


@dataclass(frozen=True)
class Answers:
    """Of one call, with good and bad cases."""

    images: Path
    masks: Path
    output: Path
    said: str
    faulty: dict[str, str]


@pytest.fixture(scope="module")
def mixed(learnt: Learnt) -> Answers:
    """The first test case again and again: bad masks, no mask, no side or a wrong one in its name, and
    once predicted already."""
    images, masks, output = (learnt.place.root / "mixed" / n for n in ("images", "masks", "out"))
    good, grid = learnt.mask(TESTS[0]), learnt.grid_of(TESTS[0])
    elsewhere = Grid(grid.shape, grid.spacing, (900.0, 0.0, 0.0), grid.direction)
    bad = {
        "elsewhere_R": (good, elsewhere, "grid differs"),
        "empty_R": (np.zeros_like(good), grid, "an empty mask"),
        "hidden_R": (np.where(good > 0, 2, 0).astype(np.uint8), grid, "keeps no bone"),
        "whole_R": (np.minimum(good, 1), grid, "nothing to complete"),
        "values_R": (np.where(good > 0, 21, 0).astype(np.uint8), grid, "holds 21"),
    }
    images.mkdir(parents=True)
    for name in (*bad, "lone_R", "nameless", "there_R", "wrong_L"):
        shutil.copy(learnt.images / f"{TESTS[0]}_0000.nrrd", images / f"{name}_0000.nrrd")
    for name, (mask, grid, _) in bad.items():
        write_image(masks / f"{name}.nrrd", mask, grid)
    for name in ("nameless", "there_R", "wrong_L"):
        write_image(masks / f"{name}.nrrd", good, grid)
    output.mkdir()
    shutil.copy(learnt.output / PREDICTED_BY, output)
    (output / "there_R.nrrd").write_text("predicted yesterday")
    said = learnt.predict(masks, output, "--continue_prediction", images=images, code=1)
    faulty = {**{n: w for n, (_, _, w) in bad.items()}, "lone_R": "no such file: every scan needs its mask"}
    return Answers(images, masks, output, said, faulty)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_the_plan_is_of_bones(learnt: Learnt) -> None:
    plan = read_plan(learnt.place.preprocessed / "kfPlans.json")
    configuration = plan.configurations[MODEL]
    assert configuration.task == "completion" and configuration.previous_stage == "3d_ags"
    assert MODEL in learnt.planning and "bones mirrored to the" in learnt.planning
    assert "recommended: 3d_gp" in learnt.planning
    stored = learnt.place.preprocessed / configuration.preprocessing.folder
    assert len(list(stored.glob("phantom*.b2nd"))) == TRAINING


def test_a_fold_is_trained_after_its_registration_and_validated(learnt: Learnt) -> None:
    assert f"{MODEL} comes after 3d_ags, which is trained first" in learnt.training
    assert "bones registered to the prototype" in learnt.training
    for name in ("checkpoint_final.pt", "plan.json", "run.json"):
        assert (learnt.fold / name).is_file()
    assert (learnt.fold.parent.parent / "kfPlans__3d_ags" / "fold_0" / "checkpoint_final.pt").is_file()
    (split, *_) = read_json(learnt.place.preprocessed / "splits_final.json")
    summary = read_summary(learnt.fold / "validation")
    assert {c.case for c in summary.metric_per_case} == set(split["val"])
    assert set(summary.mean) == {"tibia", "tibia, composite"}
    for case in split["val"]:
        hidden = read_image(learnt.fold / "validation" / "masks" / f"{case}.nrrd").array
        label = read_image(learnt.place.raw / "labelsTr" / f"{case}.nrrd").array
        assert (hidden[label > 0] == 2).mean() == pytest.approx(0.2, abs=0.01)


def test_every_file_is_there_on_the_scans_grid(learnt: Learnt) -> None:
    wanted = {f"{c}{s}.nrrd" for c in TESTS for s in SUFFIXES}
    wanted |= {f"{c}.{ending}" for c in TESTS for ending in ("stl", "tfm", "json", "png")}
    wanted |= {"preview.png", PREDICTED_BY}
    assert {p.name for p in learnt.output.iterdir()} - {"warnings.log"} == wanted
    for case in TESTS:
        scan = read_image(learnt.images / f"{case}_0000.nrrd")
        for suffix in SUFFIXES:
            found = read_image(learnt.output / f"{case}{suffix}.nrrd")
            assert found.grid.mismatch(scan.grid) is None
            assert same_place(found.grid, scan.grid)
            assert np.isfinite(found.array).all()


@pytest.mark.parametrize("case", TESTS)
def test_visible_bone_is_as_it_was_and_the_rest_is_completed(learnt: Learnt, case: str) -> None:
    mask, whole, region = learnt.mask(case), learnt.array(case), learnt.array(case, "_region")
    truth = read_image(learnt.place.raw / "labelsTs" / f"{case}.nrrd").array > 0
    scan = read_image(learnt.images / f"{case}_0000.nrrd").array
    kept, hidden = mask == 1, mask == 2
    assert set(np.unique(whole).tolist()) == {0, 1}
    assert (whole[kept] == 1).all() and not whole[(mask == 0)].any()
    assert np.array_equal(whole > 0, kept | (region > 0)) and not region[~hidden].any()
    assert np.array_equal(region > 0, (learnt.array(case, "_raw") > 0) & hidden)
    assert dice(region[hidden] > 0, truth[hidden]) > 0.8
    ct = learnt.array(case, "_ct")
    assert np.array_equal(ct[kept], scan[kept]) and (ct[whole == 0] == -1000).all()
    assert 100 < np.median(ct[region > 0]) < 900  # spongy bone and cortex
    uncertainty = learnt.array(case, "_uncertainty")
    assert (uncertainty[~hidden] == 0).all() and 0 < uncertainty[hidden].max() < 10


@pytest.mark.parametrize("case", TESTS)
def test_the_surface_is_the_bones_in_the_patient(learnt: Learnt, case: str) -> None:
    vertices = read_stl(learnt.output / f"{case}.stl").vertices
    centres = learnt.grid_of(case).voxel_centres()[learnt.array(case) > 0]
    assert np.abs(vertices.min(0) - centres.min(0)).max() < 1.8
    assert np.abs(vertices.max(0) - centres.max(0)).max() < 1.8


@pytest.mark.parametrize("case", TESTS)
def test_the_transform_leads_to_the_middle_of_the_models_frame(learnt: Learnt, case: str) -> None:
    transform = sitk.ReadTransform(str(learnt.output / f"{case}.tfm"))
    centres = learnt.grid_of(case).voxel_centres()[learnt.array(case) > 0][::50]
    there = np.array([transform.TransformPoint(p) for p in centres.tolist()])
    assert np.abs(there.mean(0)).max() < 6
    half = [n * mm / 2 for n, mm in zip(learnt.grid.grid, learnt.grid.spacing, strict=True)]
    assert (np.abs(there) < half[::-1]).mean() > 0.99
    facts = read_json(learnt.output / f"{case}.json")
    linear = linear_part(learnt.output / f"{case}.tfm")
    scale = abs(np.linalg.det(linear)) ** (1 / 3)
    assert scale == pytest.approx(facts["registration"]["scale"], abs=1e-3)
    assert np.allclose(linear.T @ linear, scale**2 * np.eye(3), atol=1e-6)


def test_bones_of_one_side_are_mirrored_into_the_other(learnt: Learnt) -> None:
    for case, own in zip(TESTS, ("right", "left"), strict=True):
        linear = linear_part(learnt.output / f"{case}.tfm")
        assert np.sign(np.linalg.det(linear)) == (1 if own == learnt.grid.side else -1)


@pytest.mark.parametrize("case", TESTS)
def test_facts(learnt: Learnt, case: str) -> None:
    facts = read_json(learnt.output / f"{case}.json")
    voxel = math.prod(learnt.grid_of(case).spacing)
    volume, completed = learnt.array(case).sum() * voxel, learnt.array(case, "_region").sum() * voxel
    assert facts["volume_mm3"] == pytest.approx(volume, rel=1e-4)
    assert facts["completed_mm3"] == pytest.approx(completed, rel=1e-4)
    assert facts["hidden_fraction"] == pytest.approx(completed / volume, abs=1e-3)
    points = learnt.grid_of(case).voxel_centres()[learnt.array(case) > 0]
    assert 70 < facts["length_mm"] < np.linalg.norm(np.ptp(points, axis=0)) + 4
    assert facts["registration"]["inliers"] > 0.7 and facts["registration"]["residual_mm"] < 2
    assert 0.8 < facts["registration"]["scale"] < 1.25
    assert 0 < facts["surface_error_ratio"] < 3
    assert facts["bone_at_border_mm2"] == 0 and facts["warnings"] == []


def test_the_command_for_the_best_runs_as_it_stands(learnt: Learnt, monkeypatch: pytest.MonkeyPatch) -> None:
    said = learnt.place.run("kf_find_best_configuration", 1)
    assert f"{MODEL} is the only one" in said
    assert "kf_train Dataset001_Knee 3d_pca32 fold_0 -p kfPlans\n" in said and "3d_ags" not in said
    folder = learnt.fold.parent.parent / "best_configuration"
    for name in ("raw", "results"):
        monkeypatch.setenv(f"kf_{name}", str(learnt.place.root / name))
    learnt.place.run(*shlex.split(os.path.expandvars((folder / "prediction_commands.txt").read_text())))
    for case in TESTS:
        assert np.array_equal(read_image(folder / "predictions" / f"{case}.nrrd").array, learnt.array(case))


def test_without_masks_it_is_told_what_is_missing(learnt: Learnt, tmp_path: Path) -> None:
    said = learnt.predict(None, tmp_path / "out", code=1)
    assert "task 'completion' requires masks: give their folder with -m" in said
    assert not (tmp_path / "out").exists()


def test_bad_masks_do_not_stop_the_good_ones(mixed: Answers) -> None:
    faults = mixed.said[mixed.said.index("error: 6 problems") :].splitlines()[1:]
    assert len(faults) == len(mixed.faulty) == 6
    for name, word in mixed.faulty.items():
        (line,) = [f for f in faults if f.strip().startswith(str(mixed.masks / f"{name}.nrrd"))]
        assert word in line
    first, _, work = mixed.said.partition("Predicting")
    assert all(line in first for line in faults) and "6 problems" in work
    (line,) = [f for f in faults if "hidden_R.nrrd" in f]
    assert f"kf_train {NAME} {FINDER} 0" in line and "mark the bone to keep with 1" in line
    assert {p.stem for p in mixed.output.glob("*.json")} == {"nameless", "wrong_L", "predicted_by"}


def test_a_side_that_no_name_tells_is_found(learnt: Learnt, mixed: Answers) -> None:
    assert np.array_equal(read_image(mixed.output / "nameless.nrrd").array, learnt.array(TESTS[0]))
    assert read_json(mixed.output / "nameless.json") == read_json(learnt.output / f"{TESTS[0]}.json")


def test_a_wrong_side_is_told(learnt: Learnt, mixed: Answers) -> None:
    right, wrong = (
        read_json(folder / f"{name}.json")
        for folder, name in ((learnt.output, TESTS[0]), (mixed.output, "wrong_L"))
    )
    inliers, mistaken = (f["registration"]["inliers"] for f in (right, wrong))
    assert mistaken < inliers
    assert any("fits better as a right bone" in w for w in wrong["warnings"])
    assert not any("fits better" in w for w in right["warnings"])


def test_what_is_predicted_already_is_left_alone(mixed: Answers) -> None:
    assert (mixed.output / "there_R.nrrd").read_text() == "predicted yesterday"
    assert not (mixed.output / "there_R.json").exists()


def test_a_registration_is_looked_at(learnt: Learnt) -> None:
    validation = learnt.fold.parent.parent / "kfPlans__3d_ags" / "fold_0" / "validation"
    bones = set(read_json(validation / "registration.json"))
    assert bones and {picture.stem for picture in validation.glob("*.png")} == bones


def test_it_is_told_how_codes_are_used(learnt: Learnt) -> None:
    short = ("--epochs", 1, "--set", "training.steps_per_epoch=2", "--set", "training.validation_crops=1")
    said = learnt.place.run("kf_train", 1, "3d_vqvae", "fold0", *short)
    validation = learnt.fold.parent.parent / "kfPlans__3d_vqvae" / "fold_0" / "validation"
    found, cases = read_json(validation / "codebook.json"), read_json(validation / "summary.json")["cases"]
    assert sum(found["use"]) == cases * math.prod(learnt.grid.grid) // 8**3
    assert found["dead"] == found["use"].count(0)
    assert f"{len(found['use'])} codes, perplexity {found['perplexity']:.1f}, {found['dead']} dead" in said
    assert (validation / "codebook.png").read_bytes().startswith(b"\x89PNG")


def test_a_prior_without_its_registration_is_refused(learnt: Learnt) -> None:
    said = learnt.place.run("kf_train", 1, "3d_prototype", "fold1", "--no_pretraining", code=1)
    assert "a prior is fitted to registered bones" in said


def test_a_bone_that_is_not_marked_is_found(learnt: Learnt, tmp_path: Path) -> None:
    place = learnt.place.copy(tmp_path / "place")  # others want it untrained
    coarse = ("network.depth=1", "training.warmup_steps=2", "training.validation_crops=4")
    flags = [part for setting in coarse for part in ("--set", setting)]
    steps = ("--set", "training.steps_per_epoch=40", "--epochs", 1)
    said = place.run("kf_train", 1, FINDER, 0, *flags, *steps)
    assert "tibia" in said
    fold = place.model.parent / f"kfPlans__{FINDER}" / "fold_0"
    assert read_summary(fold / "validation").foreground_mean["Dice"] > 0.8

    case, scan = TESTS[0], learnt.images / f"{TESTS[0]}_0000.nrrd"
    mask = learnt.mask(case)
    write_image(tmp_path / f"{case}.nrrd", np.where(mask == 2, 2, 0).astype(np.uint8), learnt.grid_of(case))
    place.run("kf_predict", "-i", scan, "-o", tmp_path / "out", "-d", 1, "-c", MODEL, "-m", tmp_path)
    assert read_json(tmp_path / "out" / f"{case}.json")["bone_found_by"] == FINDER
    assert read_json(learnt.output / f"{case}.json")["bone_found_by"] == "mask"
    whole = read_image(tmp_path / "out" / f"{case}.nrrd").array > 0
    assert dice(whole & (mask != 2), mask == 1) > 0.8
    assert dice(whole, learnt.array(case) > 0) > 0.8
