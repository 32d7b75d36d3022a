"""run.json is read as it was written, or its damage is told with what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from prepared import NAME, Place, plan

from kneeformer.engine.weight_transfer import Transfer
from kneeformer.errors import KneeformerError
from kneeformer.plans import override
from kneeformer.sides import Whose
from kneeformer.workflows.fold_folder import (
    RUN,
    clear,
    read_begun,
    read_run,
    refuse_learnt_cases,
    warn_of_another_plan,
    warn_of_learnt_cases,
    write_run,
)
from kneeformer.workflows.fold_outcome import fold_outcome
from kneeformer.workflows.raw_data import HeldOut
from kneeformer.workflows.request import Request

TAKEN = Transfer(loaded=["stem.a"], resized=["stem.b"], unused=["filler.c"], new=["decoder.d"])
REQUEST = Request(
    "Dataset001_Knee", "3d_vit", 0, minutes=1.5, seed=3, settings=("training.epochs=2",), subjects=4
)


def held_out(train: list[str], val: list[str]) -> HeldOut:
    """The first letter of a name is the person's."""
    return HeldOut.of({"train": train, "val": val}, lambda case: Whose(case[0], None))


def begun(folder: Path) -> Path:
    request = Request(**{**vars(REQUEST), "pretrained_weights": Path("/elsewhere/weights.pt")})
    write_run(folder, plan().with_only("3d_vit"), request, torch.device("cpu"), TAKEN)
    return folder


def test_a_training_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    begun(tmp_path)
    written = json.loads((tmp_path / RUN).read_text())
    assert written["pretrained"] == {"file": "/elsewhere/weights.pt", **vars(TAKEN)}
    assert written["set"] == ["training.epochs=2"] and written["minutes"] == 1.5
    requested = Request("Dataset001_Knee", "3d_vit", 0, resume=True, settings=("training.batch_size=1",))
    found, request, taken = read_begun(tmp_path, requested)
    assert found == plan().with_only("3d_vit") and taken == TAKEN
    assert (request.seed, request.minutes, request.subjects) == (3, 1.5, 4)
    assert request.settings == ("training.epochs=2", "training.batch_size=1")
    assert request.pretrained_weights == Path("/elsewhere/weights.pt")


@pytest.mark.parametrize(
    ("start", "flag"),
    [
        ({"no_pretraining": True}, "--no_pretraining"),
        ({"pretrained_weights": Path("/other.pt")}, "-pretrained_weights /other.pt"),
        ({"pretrain_from": "Dataset002_More"}, "--pretrain_from Dataset002_More"),
    ],
)
def test_a_training_does_not_go_on_from_another_start(
    tmp_path: Path, start: dict[str, Any], flag: str
) -> None:
    begun(tmp_path)
    said = f"began with /elsewhere/weights.pt, with which --c continues: omit {flag}, or restart"
    with pytest.raises(KneeformerError, match=re.escape(said)):
        read_begun(tmp_path, Request("Dataset001_Knee", "3d_vit", 0, resume=True, **start))
    same = {"pretrained_weights": Path("/elsewhere/weights.pt")}
    read_begun(tmp_path, Request("Dataset001_Knee", "3d_vit", 0, resume=True, **same))


def test_a_fold_is_not_validated_on_cases_that_it_learnt_from(tmp_path: Path) -> None:
    """As where cases were added and the splits made anew."""
    write_run(tmp_path, plan(), REQUEST, torch.device("cpu"), None, ("a", "b", "c_00m"))
    refuse_learnt_cases(tmp_path, held_out(["a", "b", "c_00m"], ["d"]))
    refuse_learnt_cases(tmp_path, held_out(["a", "b", "c_00m", "d"], ["c_00m"]))  # fold all
    said = r"learnt from b, c_00m, whose subjects splits_final\.json holds out now"
    with pytest.raises(KneeformerError, match=said):
        refuse_learnt_cases(tmp_path, held_out(["a", "d"], ["c_12m", "b"]))


def test_a_fold_is_not_validated_by_another_dataset_json(place: Place) -> None:
    """Its network predicts the labels of its plan; those that have other names by now would be compared."""
    request = Request(NAME, "3d_vit", 0, validate_only=True)
    folder = request.folder(place.folders)
    write_run(folder, plan().with_only("3d_vit"), request, torch.device("cpu"), None)
    place.write(NAME, {}, labels={"background": 0, "tibia": 1, "femur": 2})
    with pytest.raises(KneeformerError, match=r"labels: planned .*'femur': 1.*, now .*'femur': 2"):
        fold_outcome(place.folders, folder, plan(), request, ["a_00m"], lambda *_: None)


@pytest.mark.parametrize(("dataset", "told"), [("Dataset001_Knee", True), ("Dataset002_More", False)])
def test_weights_that_learnt_from_validation_cases_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dataset: str, told: bool
) -> None:
    weights = tmp_path / "checkpoint_final.pt"
    write_run(tmp_path, plan().with_only("3d_mae"), REQUEST, torch.device("cpu"), None, ("a", "b", "c"))
    warn_of_learnt_cases(weights, dataset, held_out(["a"], ["c_12m", "d"]))
    line = f"{weights}: learnt from c, on whose subjects this fold is validated: its scores will be too good"
    assert caplog.messages == [line] * told
    elsewhere = tmp_path / "elsewhere" / "mine.pt"
    warn_of_learnt_cases(elsewhere, dataset, held_out(["a"], ["c"]))
    assert len(caplog.messages) == told


@pytest.mark.parametrize(
    ("edited", "told"),
    [
        ("training.epochs=7", False),
        ("network.depth=2", True),
        ("preprocessing.spacing=[2, 1, 1]", True),
    ],
)
def test_a_previous_stage_of_another_network_or_input_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, edited: str, told: bool
) -> None:
    """What fits of its weights is loaded, and may be of images on another spacing."""
    write_run(tmp_path, plan().with_only("3d_mae"), REQUEST, torch.device("cpu"), None)
    warn_of_another_plan(tmp_path, override(plan(), "3d_mae", [edited]), "3d_mae")
    said = "trained on other input, or with another network, than kfPlans now has for 3d_mae"
    assert [said in message for message in caplog.messages] == [True] * told


def test_nothing_of_an_earlier_training_is_left_beside_a_new_one(tmp_path: Path) -> None:
    """Its label maps would be shown with the scores of the new network, its rounds counted with the new."""
    begun(tmp_path)
    old = ("checkpoint_final.pt", "progress.png", "validation/a.nrrd", "validation/prepared/summary.json")
    for file in (*old, "pseudo_labels/round_2/a.json", "tensorboard/events", "warnings.log", "notes.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    clear(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"plan.json", "warnings.log", "notes.txt"}
    clear(tmp_path)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", "null", "", '{"seed": ', "\ufeff{}", "[" * 100_000], ids=lambda text: text[:10]
)
def test_a_damaged_record_is_told_with_what_to_do(tmp_path: Path, text: str) -> None:
    (begun(tmp_path) / RUN).write_text(text, "utf-8")
    with pytest.raises(KneeformerError, match=r"run\.json: .*; retrain the fold with kf_train .*--overwrite"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "many"),
        ("seed", None),
        ("minutes", -1),
        ("minutes", float("inf")),
        ("set", "training.epochs=2"),
        ("set", [1]),
        ("started", "yesterday"),
        ("subjects", 0),
        ("pretrain_from", 2),
        ("pretrained", {}),
        ("pretrained", {"file": "a"}),
        ("pretrained", [1]),
    ],
)
def test_a_value_of_another_type_is_told_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    file = begun(tmp_path) / RUN
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(
        KneeformerError, match=rf"run\.json: damaged, or not of kneeformer \({key}.*--overwrite"
    ):
        read_begun(tmp_path, Request("Dataset001_Knee", "3d_vit", 0, resume=True))


def test_the_plan_of_another_configuration_in_the_fold(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "plan.json").write_text(plan().with_only("3d_mae").to_text())
    with pytest.raises(KneeformerError, match="has no configuration '3d_vit'; it has 3d_mae"):
        read_begun(tmp_path, Request("Dataset001_Knee", "3d_vit", 0, resume=True))
