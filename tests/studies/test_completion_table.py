"""Completions of two configurations, trained and compared on tiny bones."""

import csv
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coarse_bones import coarsen
from prepared import NAME as KNEE
from prepared import Place, plan

from kneeformer.cli import completion_table as command
from kneeformer.data.files import read_json, write_json, write_text
from kneeformer.data.images import read_image
from kneeformer.errors import KneeformerError
from kneeformer.labels import COMPLETE
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.shape_completion import COMPOSITE, HIDDEN, BoneVolume, score_completion
from kneeformer.metrics.summary import read_summary, summarise, write_summary
from kneeformer.paths import Folders
from kneeformer.phantoms.bone import write_bone_dataset
from kneeformer.planning.budget import Limits
from kneeformer.plans import read_plan
from kneeformer.studies.best_configuration import Candidates, find_best_configuration
from kneeformer.studies.chosen_model import BestConfiguration
from kneeformer.studies.completion_table import Completions, compare_completions
from kneeformer.tasks.bone_completion.evaluation import WINDOW_HU
from kneeformer.workflows.plan import plan_dataset
from kneeformer.workflows.preprocess import preprocess_dataset

NAME = "Dataset001_Tibia"
MODELS = ("3d_prototype", "3d_pca16")
WANTED = Completions(NAME, MODELS, (0,), device="cpu")
SPACING_MM, GRID_MM = 3.0, 5.0


@dataclass(frozen=True)
class Compared:
    """The folders, and what a comparison gave."""

    folders: Folders
    report: str
    home: Path

    def fold(self, model: str) -> Path:
        return self.folders.model(NAME, model) / "fold_0"

    def scores(self, model: str) -> ScoreTable:
        return read_summary(self.fold(model) / "validation").table

    def rows(self, table: str = "table") -> list[dict[str, str]]:
        return list(csv.DictReader((self.home / f"{table}.csv").open(newline="")))

    def copy(self, results: Path) -> "Compared":
        """Its results elsewhere, to be changed."""
        shutil.copytree(self.folders.results, results)
        return replace(self, folders=replace(self.folders, results=results))


def compare(folders: Folders, wanted: Completions = WANTED) -> tuple[str, Path]:
    return compare_completions(folders, wanted, lambda _: None, lambda *_: None)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    root = tmp_path_factory.mktemp("bones")
    folders = Folders(root / "raw", root / "preprocessed", root / "results")
    write_bone_dataset(folders.raw / NAME, 5, seed=1, test=0, spacing_mm=(SPACING_MM,) * 3)
    plan_dataset(folders, NAME, 2, lambda *_: None, limits=Limits("cpu"))
    coarsen(folders.plan_file(NAME), GRID_MM)
    preprocess_dataset(folders, read_plan(folders.plan_file(NAME)), [*MODELS], 2, lambda *_: None)
    return Compared(folders, *compare(folders))


def test_the_table_is_there_with_every_configuration(compared: Compared) -> None:
    assert compared.home == compared.folders.results / NAME / "kfPlans__completion_table"
    assert (compared.home / "table.md").read_text() == compared.report
    for model in MODELS:
        assert compared.report.count(f"| {model} |") == 2  # its figures, and against the prototype
    assert {row["configuration"] for row in compared.rows()} == {*MODELS}
    assert "1 subject," in compared.report and "optimistic" in compared.report


def test_the_prototype_is_as_good_as_itself(compared: Compared) -> None:
    found = {
        (row["configuration"], row["statistic"]): float(row["value"])
        for row in compared.rows()
        if (row["metric"], row["region"]) == ("RMSD_mm", "hidden")
    }
    assert found["3d_prototype", "ratio"] == 1 and found["3d_prototype", "difference"] == 0
    assert all(0.1 < found[model, "mean"] < 2 for model in MODELS)
    assert found["3d_pca16", "ratio"] == pytest.approx(
        found["3d_pca16", "mean"] / found["3d_prototype", "mean"], rel=1e-4
    )  # one patient


@pytest.mark.parametrize("model", MODELS)
def test_validation_scores_are_those_of_the_files(compared: Compared, model: str) -> None:
    (split, *_) = read_json(compared.folders.preprocessed / NAME / "splits_final.json")
    (case,) = split["val"]
    kept = compared.scores(model)
    assert kept.cases == (case,) and kept.regions == (HIDDEN, COMPOSITE)
    raw, validation = compared.folders.raw / NAME, compared.fold(model) / "validation"
    label = read_image(raw / "labelsTr" / f"{case}.nrrd")
    whole = read_image(validation / f"{case}.nrrd").array > 0
    low, high = WINDOW_HU

    def scaled(file: Path, bone: np.ndarray) -> BoneVolume:
        ct = read_image(file).array.astype(np.float32)
        return BoneVolume(np.where(bone, np.clip((ct - low) / (high - low), 0, 1), 0), bone)

    asked = read_image(validation / "masks" / f"{case}.nrrd").array == COMPLETE
    scores = score_completion(
        scaled(raw / "imagesTr" / f"{case}_0000.nrrd", label.array > 0),
        scaled(validation / f"{case}_ct.nrrd", whole),
        asked,
        label.grid,
    )
    for region in (HIDDEN, COMPOSITE):
        found = {row.metric: row.value for row in kept.rows if row.region == region}
        assert found == pytest.approx(scores[region], rel=1e-6)


def test_the_same_regions_were_hidden(compared: Compared) -> None:
    first, second = (compared.scores(model) for model in MODELS)
    assert first.masks == second.masks and len(first.masks) == 1 and first.rows != second.rows


def test_whole_bones_are_in_blocks_of_their_registration(compared: Compared) -> None:
    text = (compared.home / "whole_bones.md").read_text()
    assert [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| 3d")] == [
        ["| 3d_ags", model] for model in MODELS
    ] * 2
    regions = {row["region"]: row for row in compared.rows("whole_bones") if row["metric"] == "RMSD_mm"}
    assert [*regions] == ["nothing hidden", "a fifth hidden"]


def test_the_best_is_that_of_the_smallest_distance_in_the_region(compared: Compared) -> None:
    report, home = find_best_configuration(compared.folders, Candidates(NAME))
    found = BestConfiguration.model_validate(read_json(home / "best_configuration.json"))
    rmsd_mm = {m: compared.scores(m).by_subject("RMSD_mm", HIDDEN)["phantom05"] for m in MODELS}
    assert [row.configuration for row in found.ranking] == sorted(MODELS, key=rmsd_mm.__getitem__)
    assert {row.configuration: row.score.mean for row in found.ranking} == pytest.approx(rmsd_mm)
    assert (found.lower_is_better, found.folds, found.cases) == (True, (0,), 1)
    assert found.score == "mean RMSD in mm, hidden"
    planned = read_plan(compared.folders.plan_file(NAME)).configurations
    others = {name for name, c in planned.items() if c.task == "completion"} - {*MODELS}
    assert {line.partition(":")[0] for line in found.left_out} == others
    assert {*found.to_compare_more} == {f"kf_train {NAME} {name} fold_0 -p kfPlans" for name in others}
    assert f'-m "$kf_raw"/{NAME}/masksTs' in found.prediction and found.prediction in report


def test_the_segmentation_beside_completions_is_not_compared_with_them(compared: Compared) -> None:
    with pytest.raises(KneeformerError, match=r"3d_pca16 \(completion\), 3d_segmentation \(segmentation\)"):
        find_best_configuration(compared.folders, Candidates(NAME, ("3d_pca16", "3d_segmentation")))
    with pytest.raises(KneeformerError, match=r"first type\n  kf_train .* 3d_segmentation fold_0 "):
        find_best_configuration(compared.folders, Candidates(NAME, ("3d_segmentation",)))


def test_what_is_there_is_only_read(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(p for p in compared.folders.results.glob("kf*/**/*") if p.is_file())
    before = {file: file.stat().st_mtime_ns for file in files}
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"kf_{name}", str(getattr(compared.folders, name)))
    monkeypatch.setattr("sys.argv", ["kf_completion_table", "1", "-c", *MODELS, "--folds", "0"])
    command.main()
    printed = capsys.readouterr().out
    assert printed.startswith((compared.home / "table.md").read_text())
    assert str(compared.home) in printed
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_other_hidden_regions_are_refused(compared: Compared, tmp_path: Path) -> None:
    place = compared.copy(tmp_path / "results")
    validation = place.fold("3d_pca16") / "validation"
    table = read_summary(validation).table
    write_summary(summarise(replace(table, masks=dict.fromkeys(table.masks, "another"))), validation)
    with pytest.raises(KneeformerError, match="other regions were hidden") as fault:
        compare(place.folders)
    assert "3d_pca16 fold_0 -p kfPlans --val" in str(fault.value)


def test_other_cases_are_refused(compared: Compared, tmp_path: Path) -> None:
    place = replace(compared.folders, preprocessed=tmp_path)
    shutil.copytree(compared.folders.preprocessed / NAME, tmp_path / NAME)
    splits = read_json(tmp_path / NAME / "splits_final.json")
    write_json(tmp_path / NAME / "splits_final.json", splits[1:])
    with pytest.raises(KneeformerError, match="validated on other cases than splits_final"):
        compare(place)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"configurations": ("3d_pca16", "3d_ags")},
            "3d_ags completes no bones; choose with -c from 3d_pca32, 3d_gp",
        ),
        (
            {"configurations": ("3d_segmentation",)},
            "3d_segmentation completes no bones; choose with -c from 3d_pca32",
        ),
        ({"folds": (0, 7)}, "fold_7 does not exist"),
    ],
)
def test_what_cannot_be_compared_is_told(compared: Compared, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(KneeformerError, match=said):
        compare(compared.folders, replace(WANTED, **asked))


def test_a_dataset_of_another_task_is_refused(place: Place) -> None:
    write_text(place.folders.plan_file(KNEE), plan().to_text())
    with pytest.raises(KneeformerError, match="kfPlans of Dataset001_Knee completes no bones: it has 3d_vit"):
        compare(place.folders, Completions(KNEE))
    assert not place.folders.results.exists()
