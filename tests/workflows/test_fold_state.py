"""How far a fold is, from the files of its folder, and the line that goes on."""

import os
from pathlib import Path

import pytest

from kneeformer.errors import KneeformerError
from kneeformer.paths import FINAL, LATEST
from kneeformer.workflows.fold_folder import refuse_to_overwrite
from kneeformer.workflows.fold_state import RUN, FoldState, resume_command
from kneeformer.workflows.request import Request

TYPED = ["kf_train", "1", "3d_vit", "0", "--epochs", "6"]
KNEES = "Dataset001_My knees"
WORDS = ["kf_train", KNEES, "3d_vit", "fold_0", "-p", "kfPlans"]
FILES = {
    FoldState.UNTOUCHED: (),
    FoldState.BEGUN: (RUN,),
    FoldState.STOPPED: (RUN, LATEST),
    FoldState.TRAINED: (RUN, LATEST, FINAL),
}
GO_ON = {
    FoldState.UNTOUCHED: TYPED,
    FoldState.BEGUN: TYPED,
    FoldState.STOPPED: [*WORDS, "--c", "-device", "cpu"],
    FoldState.TRAINED: [*WORDS, "--val", "-device", "cpu"],
}


def fold(folder: Path, state: FoldState, *others: str) -> Path:
    for name in (*FILES[state], *others):
        (folder / name).touch()
        os.utime(folder / name, (1000, 1000))
    return folder


def request(**changes: object) -> Request:
    return Request(KNEES, "3d_vit", 0, device="cpu", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", FoldState)
def test_what_is_kept_and_what_goes_on(state: FoldState, tmp_path: Path) -> None:
    folder = fold(tmp_path, state)
    assert FoldState.of(folder) is state
    kept, words = resume_command(folder, request(), 0, TYPED)
    assert kept and words == GO_ON[state]


@pytest.mark.parametrize("state", FoldState)
def test_an_earlier_training_is_not_what_an_overwriting_one_goes_on_with(
    state: FoldState, tmp_path: Path
) -> None:
    folder = fold(tmp_path, state)
    assert resume_command(folder, request(overwrite=True), 1001, TYPED)[1] == TYPED
    assert resume_command(folder, request(overwrite=True), 999, TYPED)[1] == GO_ON[state]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (FoldState.UNTOUCHED, None),
        (FoldState.BEGUN, None),
        (FoldState.STOPPED, "a training stopped here; resume with --c"),
        (FoldState.TRAINED, "this fold is trained; retrain it with --overwrite, or validate with --val"),
    ],
)
def test_the_same_command_again(state: FoldState, says: str | None, tmp_path: Path) -> None:
    folder = fold(tmp_path, state)
    if says is None:
        refuse_to_overwrite(folder, request())
        return
    with pytest.raises(KneeformerError, match=says):
        refuse_to_overwrite(folder, request())
    refuse_to_overwrite(folder, request(overwrite=True))


def test_a_kill_while_an_old_training_is_cleared_away_leaves_a_way_on(tmp_path: Path) -> None:
    """run.json is the first to go: its checkpoint alone is nothing to go on with."""
    folder = fold(tmp_path, FoldState.UNTOUCHED, LATEST)
    assert FoldState.of(folder) is FoldState.UNTOUCHED
    refuse_to_overwrite(folder, request())
    with pytest.raises(KneeformerError, match="start without --c"):
        refuse_to_overwrite(folder, request(resume=True))
