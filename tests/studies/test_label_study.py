"""The study of few labels: its trainings, what it refuses, and its table, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from prepared import NAME, Place, plan

from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError
from kneeformer.paths import FINAL, Folders
from kneeformer.plans import override
from kneeformer.studies.label_study import (
    ARMS,
    LabelStudy,
    compared,
    label_study_markdown,
    planned_trainings,
    run_label_study,
)
from kneeformer.workflows.request import Request

STUDY = LabelStudy(NAME, labels=(3, None), arms=tuple(ARMS), seeds=(0, 4), epochs=2)


@pytest.fixture
def folders(place: Place) -> Folders:
    write_text(place.folders.plan_file(NAME), plan().to_text())
    return place.folders


def test_arms_are_settings_of_one_plan() -> None:
    for name, arm in ARMS.items():
        made = override(plan(), "3d_vit", list(arm.settings)).configuration("3d_vit")
        assert made.learns_without_labels is arm.teaches is (name in "DF")
        assert bool(made.training.averaged_share) is (name in "BCDF")
    assert len({arm.settings for arm in ARMS.values()}) == 4, "E and F are A and D from other weights"


def test_every_arm_has_the_same_subjects_seeds_and_length(folders: Folders) -> None:
    home = folders.results / "study"
    before, trainings = planned_trainings(folders, home, STUDY, Request(NAME, "3d_vit", 0))
    assert before is not None and before.request.configuration == "3d_mae"
    assert set(trainings) == {(labels, name) for labels in (3, None) for name in ARMS}
    for (labels, name), runs in trainings.items():
        assert [(t.request.seed, t.request.subjects, t.request.epochs) for t in runs] == [
            (0, labels, 2),
            (4, labels, 2),
        ]
        starts = {t.request.pretrained_weights for t in runs}
        assert starts == {before.folder / FINAL if name in "EF" else None}
    folders_of_trainings = {t.folder for runs in trainings.values() for t in runs}
    assert len(folders_of_trainings) == 2 * 2 * len(ARMS)


def test_pre_training_is_charged_to_the_minutes(folders: Folders) -> None:
    study = replace(STUDY, epochs=None, minutes=10.0, pretraining_minutes=4.0)
    _, trainings = planned_trainings(folders, folders.results, study, Request(NAME, "3d_vit", 0))
    minutes = {name: runs[0].request.minutes for (_, name), runs in trainings.items()}
    assert minutes == {"A": 10, "B": 10, "C": 10, "D": 10, "E": 6, "F": 6}
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
    _, trainings = planned_trainings(folders, folders.results, STUDY, Request(NAME, "3d_vit", 0))
    assert {name for labels, name in trainings if labels is None} == set("ABCE")
    assert {name for labels, name in trainings if labels == 3} == set(ARMS)


def test_more_labels_than_the_fold_has_are_refused_before_all_work(folders: Folders) -> None:
    with pytest.raises(KneeformerError, match="has 4 labelled subjects, not 9"):
        run_label_study(folders, replace(STUDY, labels=(9,)), lambda _: None, lambda *_: None)


def test_gains_are_over_the_best_arm_without_unlabelled_images() -> None:
    scores = {
        (5, "A"): np.array([[0.5, 0.7]]),
        (5, "C"): np.array([[0.6, 0.8]]),
        (5, "D"): np.array([[0.65, 0.85]]),
        (None, "D"): np.array([[0.9, 0.9]]),
    }
    rows = {(row.labels, row.arm): row for row in compared(scores)}
    assert rows[5, "A"].gain is None and rows[None, "D"].gain is None
    assert rows[5, "D"].gain == pytest.approx((5, 5, 5))
    assert rows[5, "D"].dice[0] == pytest.approx(0.75)
    assert "| 5 | D teacher | 1 | 0.7500" in label_study_markdown(list(rows.values()))
