"""The study of few labels: its trainings, what it refuses, and its table, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from prepared import NAME, Place, plan

from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError
from kneeformer.paths import FINAL, Folders
from kneeformer.plans import override
from kneeformer.studies.label_arms import ABLATIONS, ALL_ARMS, ARMS
from kneeformer.studies.label_study import LabelStudy, planned_trainings, run_label_study
from kneeformer.studies.label_table import compared, label_markdown
from kneeformer.workflows.request import Request

STUDY = LabelStudy(NAME, labels=(3, None), arms=tuple(ARMS), seeds=(0, 4), epochs=2)


@pytest.fixture
def folders(place: Place) -> Folders:
    write_text(place.folders.plan_file(NAME), plan().to_text())
    return place.folders


def test_arms_are_settings_of_one_plan() -> None:
    for arm in ALL_ARMS.values():
        override(plan(), "3d_vit", list(arm.settings))
        override(plan(), "3d_mae", list(arm.pretraining or ()))
    for name, arm in ARMS.items():
        made = override(plan(), "3d_vit", list(arm.settings)).configuration("3d_vit")
        assert made.learns_without_labels is arm.teaches is (name in "CE")
        assert bool(made.training.averaged_share) is (name in "BCE")
    assert len({arm.settings for arm in ARMS.values()}) == 3, "D and E are A and C from other weights"


def test_every_arm_has_the_same_subjects_seeds_and_length(folders: Folders) -> None:
    home = folders.results / "study"
    planned = planned_trainings(folders, home, STUDY, Request(NAME, "3d_vit", 0))
    (before,), trainings = planned.before.values(), planned.trainings
    assert before.request.configuration == "3d_mae"
    assert set(trainings) == {(labels, name) for labels in (3, None) for name in ARMS}
    for (labels, name), runs in trainings.items():
        assert [(t.request.seed, t.request.subjects, t.request.epochs) for t in runs] == [
            (0, labels, 2),
            (4, labels, 2),
        ]
        starts = {t.request.pretrained_weights for t in runs}
        assert starts == {before.folder / FINAL if name in "DE" else None}
    folders_of_trainings = {t.folder for runs in trainings.values() for t in runs}
    assert len(folders_of_trainings) == 2 * 2 * len(ARMS)


def test_pre_training_is_charged_to_the_minutes(folders: Folders) -> None:
    study = replace(STUDY, epochs=None, minutes=10.0, pretraining_minutes=4.0)
    planned = planned_trainings(folders, folders.results, study, Request(NAME, "3d_vit", 0))
    minutes = {name: runs[0].request.minutes for (_, name), runs in planned.trainings.items()}
    assert minutes == {"A": 10, "B": 10, "C": 10, "D": 6, "E": 6}
    with pytest.raises(KneeformerError, match=r"counts in the 10 minutes.*--pretraining_minutes 5"):
        planned_trainings(
            folders,
            folders.results,
            replace(study, pretraining_minutes=10.0),
            Request(NAME, "3d_vit", 0),
        )


def test_a_teacher_without_images_to_label_is_left_out(place: Place, folders: Folders) -> None:
    for image in (place.raw / "imagesUn").iterdir():
        image.unlink()
    trainings = planned_trainings(folders, folders.results, STUDY, Request(NAME, "3d_vit", 0)).trainings
    assert {name for labels, name in trainings if labels is None} == set("ABD")
    assert {name for labels, name in trainings if labels == 3} == set(ARMS)


def test_an_ablation_is_of_the_pre_training_and_beside_its_own_start(folders: Folders) -> None:
    study = replace(STUDY, labels=(3,), arms=("A", "D", *ABLATIONS), pretrain_from=NAME)
    planned = planned_trainings(folders, folders.results, study, Request(NAME, "3d_vit", 0))
    assert len(planned.before) == 1 + 5 + 2 + 1, "planned; five ways to mask; two depths; a decoder"
    assert {t.request.pretrain_from for t in planned.before.values()} == {NAME}
    for name, arm in ABLATIONS.items():
        (start,) = {t.request.pretrained_weights for t in planned.trainings[3, name]}
        if arm.pretraining is None:
            assert start is None
        else:
            assert start == planned.before[arm.pretraining].folder / FINAL
            (beside,) = arm.beside
            assert ALL_ARMS[beside].settings == arm.settings, "they differ in where they start alone"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ((1, 2, 5, None), "fold_0 has 4 labelled subjects, not 5; it has enough for --labels 1 2 all"),
        ((5, 10, 20, None), "has 4 labelled subjects, not 5 or 10 or 20; it has enough for --labels 2 all"),
    ],
)
def test_more_labelled_subjects_than_there_are_are_refused_with_what_would_work(
    folders: Folders, labels: tuple[int | None, ...], said: str
) -> None:
    with pytest.raises(KneeformerError, match=said):
        run_label_study(folders, replace(STUDY, labels=labels), lambda _: None, lambda *_: None)
    assert not folders.results.exists()


@pytest.mark.parametrize("fold", ["all", "fold_all"])
def test_a_fold_that_holds_nobody_out_is_refused(folders: Folders, fold: str) -> None:
    with pytest.raises(KneeformerError, match="leaves none to compare on; choose another with -f"):
        run_label_study(folders, replace(STUDY, fold=fold, labels=(1,)), lambda _: None, lambda *_: None)
    assert not folders.results.exists()


def test_gains_are_over_the_best_arm_without_unlabelled_images() -> None:
    scores = {
        (5, "A"): np.array([[0.5, 0.7]]),
        (5, "B"): np.array([[0.6, 0.8]]),
        (5, "C"): np.array([[0.65, 0.85]]),
        (None, "C"): np.array([[0.9, 0.9]]),
    }
    rows = {(row.labels, row.arm): row for row in compared(scores)}
    assert rows[5, "A"].gain is None and rows[None, "C"].gain is None
    assert rows[5, "C"].gain == pytest.approx((5, 5, 5))
    assert rows[5, "C"].dice[0] == pytest.approx(0.75)
    assert "| 5 | C teacher | 1 | 0.7500" in label_markdown(list(rows.values()))
