"""Which cases a fold learns from: nobody who validates or tests is ever learnt from by another scan."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kneeformer.data.files import write_json, write_text
from kneeformer.data.geometry import Geometry
from kneeformer.data.images import write_image
from kneeformer.data.storage import CaseRecord, save_case
from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plan import Plan, parse_plan
from kneeformer.stages.cases import learning_cases, split_of
from kneeformer.stages.request import Request
from kneeformer.stages.study import Study, run_study
from kneeformer.tasks import task_named
from kneeformer.tasks.base import StoredCases

SHAPE = (4, 8, 8)
LABELS = {"background": 0, "femur": 1}
NAME, OTHER = "Dataset001_Knee", "Dataset002_More"
LABELLED = ["a_00m", "a_12m", "b_00m", "c", "d_V1", "e"]
UNLABELLED = ["a_24m", "b_12m", "c_T2", "d_V2", "f_00m", "f_12m", "g", "t_12m"]
TESTS = ["t_00m", "g"]
SPLITS = [
    {"train": ["b_00m", "c", "d_V1", "e"], "val": ["a_00m", "a_12m"]},
    {"train": ["a_00m", "a_12m", "e"], "val": ["b_00m", "c", "d_V1"]},
]
LEARNT = {  # of imagesUn, by fold
    0: {"b_12m", "c_T2", "d_V2", "f_00m", "f_12m"},
    1: {"a_24m", "f_00m", "f_12m"},
    "all": {"a_24m", "b_12m", "c_T2", "d_V2", "f_00m", "f_12m"},
}


def plan() -> Plan:
    """Crops as large as the cases, changed by nothing: a voxel that is read is a voxel of its case."""
    content: dict[str, Any] = {
        "dataset": {"name": NAME, "channel_names": ["PD"], "labels": LABELS, "file_ending": ".nrrd"},
        "configurations": {
            "3d_vit": {
                "task": "segmentation",
                "preprocessing": {
                    "folder": "3d_vit",
                    "spacing": [1, 1, 1],
                    "median_shape": SHAPE,
                    "normalisation": [{"kind": "none"}],
                },
                "network": {
                    "stem": [{"channels": 12, "stride": [2, 4, 4], "kernel": [3, 3, 3]}],
                    "width": 12,
                    "depth": 1,
                    "heads": 2,
                },
                "training": {
                    "crop": SHAPE,
                    "batch_size": 8,
                    "epochs": 1,
                    "steps_per_epoch": 1,
                    "learning_rate": 0.001,
                },
                "augmentation": {
                    f"{change}_chance": 0
                    for change in ("affine", "noise", "blur", "brightness", "contrast", "gamma")
                }
                | {"low_resolution_chance": 0},
                "inference": {"whole_volume_tokens": 1000},
            },
            "3d_mae": {"inherits_from": "3d_vit", "task": "pretraining", "masking": {}},
        },
    }
    return parse_plan(content, "test")


@dataclass(frozen=True)
class Place:
    """Datasets whose files are named and empty, and prepared cases, each filled with a number of its own."""

    folders: Folders

    @property
    def prepared(self) -> Path:
        return self.folders.preprocessed / NAME / "3d_vit"

    def write(self, name: str, parts: dict[str, Iterable[str]], **description: Any) -> None:
        folder = self.folders.raw / name
        write_json(
            folder / "dataset.json",
            {"channel_names": {"0": "PD"}, "labels": LABELS, "file_ending": ".nrrd", **description},
        )
        for part, cases in parts.items():
            for case in cases:
                file = folder / part / f"{case}_0000.nrrd"
                file.parent.mkdir(exist_ok=True)
                file.touch()

    def prepare(self, cases: Iterable[str]) -> None:
        for case in cases:
            record = CaseRecord(key="key", shape=SHAPE, spacing=(1, 1, 1), points={"femur": [(1, 1, 1)]})
            image = np.full((1, *SHAPE), number_of(case), np.float32)
            save_case(self.prepared, case, image, None, record, SHAPE)

    def learnt(self, request: Request) -> tuple[set[str], set[str]]:
        """Names of the cases to learn from, and to watch."""
        training, validation = self.cases(request)
        assert len(set(training.cases)) == len(training.cases)
        return {c.name for c in training.cases}, {c.name for c in validation.cases}

    def cases(self, request: Request) -> tuple[StoredCases, StoredCases]:
        return learning_cases(self.folders, request, plan(), lambda *_: None)


def number_of(case: str) -> int:
    return 1 + [*LABELLED, *UNLABELLED].index(case)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results"))
    found.write(NAME, {"imagesTr": LABELLED, "imagesUn": UNLABELLED, "imagesTs": TESTS})
    write_json(found.folders.preprocessed / NAME / "splits_final.json", SPLITS)
    found.prepare([*LABELLED, *UNLABELLED])
    return found


MAE, VIT = Request(NAME, "3d_mae", 0), Request(NAME, "3d_vit", 0)


@pytest.mark.parametrize("fold", [0, 1])
def test_another_scan_of_who_validates_or_tests_is_not_learnt_from(place: Place, fold: int) -> None:
    training, validation = place.learnt(replace(MAE, fold=fold))
    assert training == {*SPLITS[fold]["train"], *LEARNT[fold]}
    assert validation == set(SPLITS[fold]["val"])


def test_where_nobody_is_held_out_every_subject_is_learnt_from_but_those_of_imagests(place: Place) -> None:
    training, validation = place.learnt(replace(MAE, fold="all"))
    assert training == {*LABELLED, *LEARNT["all"]}
    assert validation == set(SPLITS[0]["val"])


@pytest.mark.parametrize("fold", [0, 1, "all"])
def test_training_never_reads_a_voxel_of_who_is_held_out(place: Place, fold: int | str) -> None:
    stored, _ = place.cases(replace(MAE, fold=fold))
    configuration = plan().configuration("3d_mae")
    batches = task_named("pretraining").batches(stored, plan().dataset, configuration, 0, training=True)
    read = {int(v) for step in range(60) for v in batches[step]["image"].unique()}
    split = {"train": LABELLED, "val": []} if fold == "all" else SPLITS[int(fold)]
    assert read == {number_of(c) for c in (*split["train"], *LEARNT[fold])}


@pytest.mark.parametrize("fold", [0, 1])
def test_segmentation_learns_from_labelled_cases_alone(place: Place, fold: int) -> None:
    training, validation = place.learnt(replace(VIT, fold=fold, pretrain_from=OTHER))
    assert (training, validation) == (set(SPLITS[fold]["train"]), set(SPLITS[fold]["val"]))


def test_subjects_named_in_dataset_json_count(place: Place) -> None:
    place.write(
        NAME, {}, subjects={"a_00m": "anna", "a_12m": "anna", "f_00m": "anna", "t_00m": "tim", "e": "e"}
    )
    training, _ = place.learnt(MAE)
    assert training == {*SPLITS[0]["train"], *LEARNT[0]} - {"f_00m", "f_12m"}


def test_a_scan_that_is_not_listed_belongs_to_who_its_name_says(place: Place) -> None:
    """Only labelled and test cases are listed: another scan of the same name is of the same person."""
    place.write(NAME, {}, subjects={c: f"subject {c[0]}" for c in (*LABELLED, *TESTS)})
    training, _ = place.learnt(MAE)
    assert training == {*SPLITS[0]["train"], *LEARNT[0]}


def test_a_fold_that_a_person_edited_is_followed(place: Place) -> None:
    edited = [{"train": ["e"], "val": ["b_00m"]}]
    write_json(place.folders.preprocessed / NAME / "splits_final.json", edited)
    training, validation = place.learnt(MAE)
    assert validation == {"b_00m"}
    assert training == {"e", "a_24m", "c_T2", "d_V2", "f_00m", "f_12m"}


def test_who_is_held_out_need_not_be_prepared_and_who_is_learnt_from_must(place: Place) -> None:
    for case in ("a_24m", "t_12m", "g"):
        (place.prepared / f"{case}.json").unlink()
    place.learnt(MAE)
    with pytest.raises(KneeformerError, match=r"1 cases are not preprocessed \(a_24m\); run kf_preprocess"):
        place.learnt(replace(MAE, fold="all"))


def test_without_labels_there_is_the_fold_all_alone(place: Place) -> None:
    (place.folders.preprocessed / NAME / "splits_final.json").unlink()
    with pytest.raises(KneeformerError, match="has the fold all alone"):
        split_of(place.folders, MAE)
    place.write(NAME, {})
    for case in LABELLED:
        (place.folders.raw / NAME / "imagesTr" / f"{case}_0000.nrrd").unlink()
    training, validation = place.learnt(replace(MAE, fold="all"))
    assert training == validation == LEARNT["all"]


def test_nothing_to_learn_from_is_told(place: Place) -> None:
    (place.folders.preprocessed / NAME / "splits_final.json").unlink()
    with pytest.raises(KneeformerError, match="no cases to learn from"):
        place.learnt(Request(NAME, "3d_vit", "all"))


@pytest.mark.parametrize("seed", range(5))
def test_a_few_labelled_subjects_are_whole_and_the_fewer_are_among_the_more(place: Place, seed: int) -> None:
    chosen = [place.learnt(replace(VIT, fold=1, seed=seed, subjects=n))[0] for n in (1, 2)]
    assert chosen[0] in ({"a_00m", "a_12m"}, {"e"})
    assert chosen[0] < chosen[1] == set(SPLITS[1]["train"])


def test_seeds_choose_different_subjects(place: Place) -> None:
    found = {frozenset(place.learnt(replace(VIT, seed=s, subjects=1))[0]) for s in range(20)}
    assert found == {frozenset([case]) for case in SPLITS[0]["train"]}


def test_more_subjects_than_there_are_is_told(place: Place) -> None:
    with pytest.raises(KneeformerError, match="fold_1 has 2 labelled subjects, not 3"):
        place.learnt(replace(VIT, fold=1, subjects=3))


def test_a_study_of_more_subjects_than_there_are_is_refused_before_all_work(place: Place) -> None:
    write_text(place.folders.plan_file(NAME), plan().to_text())
    study = Study(NAME, fold=1, labels=(1, 2, 5, None))
    with pytest.raises(KneeformerError, match="fold_1 has 2 labelled subjects, not 5"):
        run_study(place.folders, study, lambda _: None, lambda *_: None)
    assert not place.folders.results.exists()


@pytest.fixture
def other(place: Place) -> Place:
    """A second dataset with real files: of subjects of its own, and of some that are known here."""
    place.write(OTHER, {})
    grid, ramp = Geometry(SHAPE, (1.0, 1.0, 1.0)), np.arange(256, dtype=np.int16).reshape(SHAPE)
    for part, case in (("Tr", "x_00m"), ("Tr", "a_36m"), ("Un", "x_12m"), ("Un", "b_36m"), ("Un", "t_36m")):
        write_image(place.folders.raw / OTHER / f"images{part}" / f"{case}_0000.nrrd", ramp, grid)
    return place


def test_images_of_another_dataset_are_learnt_from_but_not_of_who_is_held_out_here(other: Place) -> None:
    found = {}
    for fold in ("all", 0, 1):
        training, validation = other.learnt(replace(MAE, fold=fold, pretrain_from=OTHER))
        assert validation == set(SPLITS[0 if fold == "all" else int(fold)]["val"])
        found[fold] = training - {*LABELLED, *UNLABELLED}
        assert training - found[fold] == other.learnt(replace(MAE, fold=fold))[0]
    new = {"x_00m", "x_12m"}
    assert found == {"all": {*new, "a_36m", "b_36m"}, 0: {*new, "b_36m"}, 1: {*new, "a_36m"}}
    folder = other.folders.preprocessed / NAME / f"3d_vit__{OTHER}"
    assert {p.name for p in folder.iterdir()} == {f"{c}.{e}" for c in found["all"] for e in ("b2nd", "json")}
    assert json.loads((folder / "x_00m.json").read_text())["shape"] == list(SHAPE)
    assert not (other.folders.preprocessed / OTHER).exists()


def test_a_dataset_of_other_channels_is_refused(other: Place) -> None:
    other.write(OTHER, {}, channel_names={"0": "PD", "1": "T2"})
    with pytest.raises(KneeformerError, match="2 channels, and Dataset001_Knee has 1"):
        other.learnt(replace(MAE, pretrain_from=OTHER))
