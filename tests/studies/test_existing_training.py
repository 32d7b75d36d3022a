"""Trainings that are there already, and what a training refuses before all work."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prepared import MAE, NAME, OTHER, VIT, Place, plan

from kneeformer.cli import train as cli_train
from kneeformer.data.files import read_json, write_json, write_text
from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import Part, ScoreTable, rows_of
from kneeformer.metrics.summary import summarise, write_summary
from kneeformer.paths import FINAL, LATEST, Folders
from kneeformer.plans import override
from kneeformer.studies.existing_training import ExistingTraining, refuse_made_otherwise
from kneeformer.workflows.contradictions import refuse_contradictions
from kneeformer.workflows.fold_folder import RUN, write_run

DIFFERENT = "was validated on other cases than splits_final.json holds out now"


@pytest.fixture
def folders(place: Place) -> Folders:
    write_text(place.folders.plan_file(NAME), plan().to_text())
    return place.folders


def make(
    training: ExistingTraining, left: str = FINAL, started: str = "2026-11-22 10:00:00"
) -> ExistingTraining:
    """Leave what a training leaves that the study looks at."""
    request = training.request
    whole = plan().with_only(request.configuration)
    training.folder.mkdir(parents=True)
    made = override(whole, request.configuration, request.assignments)
    write_run(training.folder, made, request, torch.device("cpu"), None)
    change(training.folder / RUN, started=started)
    (training.folder / left).touch()
    return training


def change(file: Path, **values: Any) -> None:
    write_json(file, {**read_json(file), **values})


@pytest.mark.parametrize("left", [FINAL, LATEST])
@pytest.mark.parametrize(
    ("made", "requested", "said"),
    [
        ({"epochs": 2}, {"epochs": 3}, "training.epochs was 2, is now 3"),
        ({"epochs": 2}, {}, "training.epochs was 2, is now 1"),
        ({"minutes": 5.0}, {}, "minutes was 5.0, is now not given"),
        ({}, {"pretrain_from": OTHER}, f"pretrain_from was not given, is now {OTHER}"),
        ({"settings": ("network.depth=2",)}, {}, "network.depth was 2, is now 1"),
        ({"seed": 1}, {}, "seed was 1, is now 0"),
    ],
)
def test_a_training_made_otherwise_is_told(
    folders: Folders, left: str, made: dict[str, Any], requested: dict[str, Any], said: str
) -> None:
    make(ExistingTraining(folders, replace(MAE, **made)), left)
    assert ExistingTraining(folders, replace(MAE, **requested)).differences() == [said]


@pytest.mark.parametrize("requested", [{}, {"seed": 0}, {"epochs": 1}, {"device": "cpu"}, {"resume": True}])
def test_a_training_requested_in_other_words_is_the_same(folders: Folders, requested: dict[str, Any]) -> None:
    make(ExistingTraining(folders, MAE))
    assert not ExistingTraining(folders, replace(MAE, **requested)).differences()


def test_where_nothing_is_made_nothing_differs(folders: Folders) -> None:
    training = ExistingTraining(folders, MAE)
    assert not training.differences()
    training.folder.mkdir(parents=True)
    write_json(training.folder / RUN, {})  # begun, and killed before the first checkpoint: it starts anew
    assert not training.differences()


def test_a_plan_that_was_edited_since_is_told(folders: Folders) -> None:
    training = make(ExistingTraining(folders, MAE))
    edited = override(plan(), "3d_mae", ["training.learning_rate=0.01"])
    write_text(folders.plan_file(NAME), edited.to_text())
    assert training.differences() == ["training.learning_rate was 0.001, is now 0.01"]


def test_what_was_validated_on_other_cases_is_told(folders: Folders) -> None:
    """Arms of a study are compared subject by subject: others' scores would be taken for these subjects'."""
    training = make(ExistingTraining(folders, VIT))
    for cases, said in ((["a_00m", "a_12m"], []), (["a_00m", "c"], [DIFFERENT])):
        rows = [score for case in cases for score in rows_of(case, Part("femur"), {DICE: 0.5})]
        table = ScoreTable(tuple(rows), {case: case[0] for case in cases})
        write_summary(summarise(table), training.folder / "validation")
        assert training.differences() == said


def test_what_was_validated_by_earlier_label_maps_is_told(place: Place, folders: Folders) -> None:
    training, cases = make(ExistingTraining(folders, VIT)), ("a_00m", "a_12m")
    rows = [score for case in cases for score in rows_of(case, Part("femur"), {DICE: 0.5})]
    write_summary(
        summarise(ScoreTable(tuple(rows), dict.fromkeys(cases, "a"))), training.folder / "validation"
    )
    assert training.differences() == []
    later = training.folder.joinpath("validation", "summary.json").stat().st_mtime + 1
    os.utime(place.raw / "labelsTr" / "a_12m.nrrd", (later, later))
    assert training.differences() == ["was validated before the label maps of a_12m were changed"]


@pytest.mark.parametrize(
    "mend",
    [
        lambda before: (before.folder / FINAL).unlink(),
        lambda before: change(before.folder / RUN, minutes=3),
        lambda before: change(before.folder / RUN, started="2026-11-22 12:00:00"),
    ],
    ids=["deleted", "to be made anew", "made anew"],
)
def test_what_began_with_weights_that_are_gone_is_told(
    folders: Folders, mend: Callable[[ExistingTraining], None]
) -> None:
    before = make(ExistingTraining(folders, MAE))
    after = make(ExistingTraining(folders, VIT, before), started="2026-11-22 11:00:00")
    assert not after.differences()
    mend(before)
    assert after.differences() == [f"began with earlier weights of {before.folder}"]


def test_all_that_was_made_otherwise_is_in_one_list(folders: Folders) -> None:
    made = [make(ExistingTraining(folders, replace(VIT, fold=fold, epochs=2))) for fold in range(3)]
    requested = [replace(t, request=replace(t.request, epochs=2 + (i > 0))) for i, t in enumerate(made)]
    with pytest.raises(KneeformerError, match=r"^2 trainings differ from the request") as fault:
        refuse_made_otherwise([*requested, requested[-1]])
    first, *lines = str(fault.value).splitlines()
    assert "move their folders away" in first and "use the old settings" in first
    assert lines == [f"  {t.folder}: training.epochs was 2, is now 3" for t in made[1:]]


def test_going_on_and_starting_anew_together_is_refused(folders: Folders) -> None:
    with pytest.raises(KneeformerError, match="--c and --overwrite exclude each other"):
        refuse_contradictions(folders, replace(VIT, resume=True, overwrite=True))


def test_flags_that_contradict_each_other_are_refused_under_torchrun_too(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"kf_{name}", str(getattr(folders, name)))
    monkeypatch.setattr("kneeformer.networks.ranks.started", lambda: True)
    monkeypatch.setattr(cli_train, "work_as_rank", lambda device, lead: lead("cpu"))
    monkeypatch.setattr(cli_train, "run", lambda command, *_: command())
    monkeypatch.setattr("sys.argv", ["kf_train", NAME, "3d_vit", "0", "--c", "--overwrite"])
    with pytest.raises(KneeformerError, match="--c and --overwrite exclude each other"):
        cli_train.main()


def test_random_initialisation_and_weights_together_is_refused(folders: Folders) -> None:
    weights = Path("mine.pt")
    with pytest.raises(KneeformerError, match=r"-pretrained_weights exclude each other: .* from mine\.pt"):
        refuse_contradictions(folders, replace(VIT, no_pretraining=True, pretrained_weights=weights))


@pytest.mark.parametrize(
    ("flag", "ignored"),
    [
        ({"no_pretraining": True}, "--no_pretraining"),
        ({"pretrained_weights": Path("mine.pt")}, "-pretrained_weights"),
    ],
)
def test_images_for_a_stage_that_is_left_out_are_refused(
    folders: Folders, flag: dict[str, Any], ignored: str
) -> None:
    refuse_contradictions(folders, replace(VIT, **flag))
    refuse_contradictions(folders, replace(VIT, pretrain_from=OTHER))
    refuse_contradictions(folders, replace(MAE, pretrain_from=OTHER, **flag))  # it learns from them itself
    with pytest.raises(KneeformerError, match=f"--pretrain_from and {ignored} exclude each other"):
        refuse_contradictions(folders, replace(VIT, pretrain_from=OTHER, **flag))
