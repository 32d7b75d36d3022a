"""Which cases a fold learns from: nobody who validates or tests is ever learnt from by another scan."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prepared import (
    LABELLED,
    MAE,
    NAME,
    OTHER,
    SHAPE,
    SPLITS,
    TESTS,
    UNLABELLED,
    VIT,
    Place,
    number_of,
    plan,
)

from kneeformer.data.files import write_json, write_text
from kneeformer.data.images import write_image
from kneeformer.data.storage import image_file, labels_file, read_manifest, record_file
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.plans import override
from kneeformer.sides import Whose
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.prepared import PREPARATION
from kneeformer.workflows.raw_data import cases_in_no_fold
from kneeformer.workflows.request import Request
from kneeformer.workflows.training_cases import learning_cases, split_of

REMEDY = {
    name: ["prepare them again with", f"kf_preprocess -d {NAME} -c {name} -p kfPlans"]
    for name in ("3d_vit", "3d_mae")
}
LEARNT = {  # of imagesUn, by fold
    0: {"b_12m", "c_T2", "d_V2", "f_00m", "f_12m"},
    1: {"a_24m", "f_00m", "f_12m"},
    "all": {"a_24m", "b_12m", "c_T2", "d_V2", "f_00m", "f_12m"},
}


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
    task, dataset = task_named("pretraining"), plan().dataset
    network = task.network(dataset, configuration)
    batches = task.batches(network, stored, dataset, configuration, 0, training=True)
    read = {int(v) for step in range(60) for v in batches[step]["image"].unique()}
    split = {"train": LABELLED, "val": []} if fold == "all" else SPLITS[int(fold)]
    assert read == {number_of(c) for c in (*split["train"], *LEARNT[fold])}


@pytest.mark.parametrize("fold", [0, 1])
def test_segmentation_learns_from_labelled_cases_alone(place: Place, fold: int) -> None:
    training, validation = place.learnt(replace(VIT, fold=fold, pretrain_from=OTHER))
    assert (training, validation) == (set(SPLITS[fold]["train"]), set(SPLITS[fold]["val"]))


TAUGHT = replace(VIT, settings=("training.averaged_share=0.1", "teacher={}"))


def taught(place: Place, request: Request) -> StoredCases:
    """The training cases of 3d_vit with a teacher."""
    planned = override(plan(), "3d_vit", request.assignments)
    return learning_cases(place.folders, request, planned, lambda *_: None)[0]


def test_a_teacher_labels_images_of_nobody_who_is_held_out(place: Place) -> None:
    cases = taught(place, TAUGHT)
    assert {c.name for c in cases.cases} == set(SPLITS[0]["train"])
    assert {c.name for c in cases.unlabelled} == LEARNT[0]


def test_a_teacher_labels_those_whose_labels_are_not_to_be_used(place: Place) -> None:
    cases = taught(place, replace(TAUGHT, subjects=3))
    labelled, unlabelled = ({c.name for c in some} for some in (cases.cases, cases.unlabelled))
    assert len(labelled) == 3 and labelled < set(SPLITS[0]["train"])
    assert unlabelled == LEARNT[0] | (set(SPLITS[0]["train"]) - labelled)


def test_a_teacher_needs_labels_and_images_without(place: Place) -> None:
    with pytest.raises(KneeformerError, match=r"has 2 labelled subjects.*at least 3.*--no_unlabelled"):
        taught(place, replace(TAUGHT, subjects=2))
    shutil.rmtree(place.raw / "imagesUn")
    with pytest.raises(KneeformerError, match=r"imagesUn: holds no images that a teacher.*--no_unlabelled"):
        taught(place, TAUGHT)
    assert not taught(place, replace(TAUGHT, no_unlabelled=True)).unlabelled


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


def test_labelled_cases_that_came_after_the_splits_are_found(place: Place) -> None:
    assert cases_in_no_fold(place.folders, NAME) == []
    place.write(NAME, {"imagesTr": ["z_00m", "y"]})
    assert cases_in_no_fold(place.folders, NAME) == ["y", "z_00m"]
    (place.folders.preprocessed / NAME / "splits_final.json").unlink()
    assert cases_in_no_fold(place.folders, NAME) == []


def test_who_is_held_out_need_not_be_prepared_and_who_is_learnt_from_must(place: Place) -> None:
    for case in ("a_24m", "t_12m", "g"):
        (place.prepared / f"{case}.json").unlink()
    place.learnt(MAE)
    with pytest.raises(KneeformerError) as caught:
        place.learnt(replace(MAE, fold="all"))
    assert said(caught) == [
        "1 of 12 cases are outdated or damaged:",
        "not prepared: a_24m",
        *REMEDY["3d_mae"],
    ]


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


@pytest.fixture
def other(place: Place) -> Place:
    """A second dataset with real files: of subjects of its own, and of some that are known here."""
    place.write(OTHER, {})
    grid, ramp = Grid(SHAPE, (1.0, 1.0, 1.0)), np.arange(256, dtype=np.int16).reshape(SHAPE)
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
    stored = {p.name for p in folder.glob("[!.]*")}
    assert stored == {f"{c}.{e}" for c in found["all"] for e in ("b2nd", "json")}
    assert read_manifest(folder, "x_00m").record.shape == SHAPE
    assert not (other.folders.preprocessed / OTHER).exists()


def test_a_dataset_of_other_channels_is_refused(other: Place) -> None:
    other.write(OTHER, {}, channel_names={"0": "PD", "1": "T2"})
    with pytest.raises(KneeformerError, match="2 channels, and Dataset001_Knee has 1"):
        other.learnt(replace(MAE, pretrain_from=OTHER))


def test_channels_of_another_order_are_refused_and_of_other_names_told(
    other: Place, caplog: pytest.LogCaptureFixture
) -> None:
    other.write(OTHER, {}, channel_names={"0": "T2"})
    other.learnt(replace(MAE, pretrain_from=OTHER))
    assert f"its channels are T2, those of {NAME} PD: its images are normalised as these" in caplog.text
    two = plan().dataset.model_copy(update={"channel_names": ("PD", "T2")})
    other.write(OTHER, {}, channel_names={"0": "T2", "1": "PD"})
    swapped = plan().model_copy(update={"dataset": two})
    with pytest.raises(KneeformerError, match=r"are T2, PD, those of .* PD, T2; number"):
        learning_cases(other.folders, replace(MAE, pretrain_from=OTHER), swapped, lambda *_: None)


def said(caught: pytest.ExceptionInfo[KneeformerError]) -> list[str]:
    """The lines of a message, without the file that it begins with."""
    first, *lines = str(caught.value).splitlines()
    return [first.partition(": ")[2], *(line.strip() for line in lines)]


def touch_later(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


CHANGED = "files in kf_raw were changed, added or removed since"
DAMAGE: dict[str, tuple[Callable[[Place], object], str]] = {
    "image changed": (lambda p: touch_later(p.raw / "imagesTr" / "e_0000.nrrd"), CHANGED),
    "label changed": (lambda p: touch_later(p.raw / "labelsTr" / "e.nrrd"), CHANGED),
    "label removed": (lambda p: (p.raw / "labelsTr" / "e.nrrd").unlink(), CHANGED),
    "never prepared": (lambda p: record_file(p.prepared, "e").unlink(), "not prepared"),
    "empty record": (lambda p: record_file(p.prepared, "e").write_text("{}"), "the record is damaged"),
    "labels lost": (lambda p: labels_file(p.prepared, "e").unlink(), "the prepared label map is missing"),
    "labels cut short": (
        lambda p: os.truncate(labels_file(p.prepared, "e"), 40),
        "the prepared label map is damaged",
    ),
    "image cut short": (
        lambda p: os.truncate(image_file(p.prepared, "e"), 40),
        "the prepared image is damaged",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_case_that_is_stale_or_damaged_is_named_with_its_remedy(place: Place, damage: str) -> None:
    spoil, reason = DAMAGE[damage]
    spoil(place)
    with pytest.raises(KneeformerError) as caught:
        place.learnt(VIT)
    assert said(caught) == ["1 of 6 cases are outdated or damaged:", f"{reason}: e", *REMEDY["3d_vit"]]


def test_all_label_maps_deleted_is_never_training_on_nothing(place: Place) -> None:
    shutil.rmtree(place.prepared / "labels")
    with pytest.raises(KneeformerError) as caught:
        place.learnt(VIT)
    lost = "the prepared label map is missing: a_00m, a_12m, b_00m, c, d_V1 and 1 more"
    assert said(caught) == ["6 of 6 cases are outdated or damaged:", lost, *REMEDY["3d_vit"]]


def test_settings_edited_since_are_told(place: Place) -> None:
    edited = override(plan(), "3d_vit", ["preprocessing.spacing=[1,1,2]"])
    write_text(place.folders.plan_file(NAME), edited.to_text())
    with pytest.raises(KneeformerError) as caught:
        learning_cases(place.folders, VIT, edited, lambda *_: None)
    which = "a_00m, a_12m, b_00m, c, d_V1 and 1 more"
    reason = f"prepared with other settings, or by another version of kneeformer: {which}"
    assert said(caught) == ["6 of 6 cases are outdated or damaged:", reason, *REMEDY["3d_vit"]]


def test_cases_of_another_way_to_prepare_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a new version resamples otherwise: networks would learn from one and predict from another."""
    place.cases(VIT)
    monkeypatch.setattr("kneeformer.workflows.prepared.PREPARATION", PREPARATION + 1)
    with pytest.raises(KneeformerError, match="or by another version of kneeformer: a_00m"):
        place.cases(VIT)


def test_settings_of_this_training_alone_are_not_mended_by_kf_preprocess(place: Place) -> None:
    """As --set would have them, or a fold that was begun before the plan was edited."""
    own = override(plan(), "3d_vit", ["preprocessing.spacing=[1,1,2]"])
    with pytest.raises(KneeformerError) as caught:
        learning_cases(place.folders, VIT, own, lambda *_: None)
    assert "kfPlans.json prepares cases differently from this training: set preprocessing" in str(
        caught.value
    )


def test_where_the_raw_data_was_moved_away_what_is_prepared_is_learnt_from(place: Place) -> None:
    case = {
        "shape": SHAPE,
        "file_shape": SHAPE,
        "spacing": [1, 1, 1],
        "orientation": "SPL",
        "volumes_mm3": {},
    }
    fingerprint = {"intensities": [], "structures": ["femur"], "orientations": ["SPL"]}
    file = place.folders.preprocessed / NAME / "dataset_fingerprint.json"
    shutil.rmtree(place.raw)
    write_json(file, {})
    with pytest.raises(
        KneeformerError, match=r"fingerprint\.json: damaged, or .* \(cases: .* type kf_plan -d"
    ):
        place.learnt(VIT)
    subjects = dict.fromkeys(LABELLED, "anna")
    write_json(file, fingerprint | {"cases": dict.fromkeys(LABELLED, case), "subjects": subjects})
    with pytest.raises(KneeformerError, match="subject anna is in 'train' and in 'val'"):
        place.learnt(VIT)
    sides = {"cases": {**dict.fromkeys(LABELLED, case), "e": {**case, "side": "left"}}}
    write_json(file, fingerprint | sides | {"subjects": {"e": "emil"}})
    assert place.learnt(VIT)[0] == set(SPLITS[0]["train"])
    assert place.cases(VIT)[0].whose["e"] == Whose("emil", "left")
    os.truncate(image_file(place.prepared, "e"), 40)
    with pytest.raises(KneeformerError, match="the prepared image is damaged: e"):
        place.learnt(VIT)
    with pytest.raises(KneeformerError, match="imagesUn and imagesTs define: restore the raw data"):
        place.learnt(MAE)


def test_a_dataset_that_was_edited_since_it_was_planned_is_told(place: Place) -> None:
    place.write(NAME, {}, labels={"background": 0, "tibia": 1})
    with pytest.raises(KneeformerError, match=r"labels: planned .*femur.*, now .*tibia"):
        place.learnt(VIT)


def test_another_ending_of_predictions_disturbs_no_plan(place: Place) -> None:
    """As where dataset.json has none, and a scan of another format comes first by now."""
    place.write(NAME, {}, file_ending=".mha")
    assert place.learnt(VIT)[0] == set(SPLITS[0]["train"])


def test_splits_with_faults_are_refused_before_anything_is_read(place: Place) -> None:
    write_json(
        place.folders.preprocessed / NAME / "splits_final.json", [{"train": ["a_00m"], "val": ["a_12m"]}]
    )
    with pytest.raises(KneeformerError, match="fold 0: subject a is in 'train' and in 'val'"):
        split_of(place.folders, VIT)
