"""The best of trained configurations: who is compared, on which folds, and what is left to type."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prepared import NAME, SPLITS, Place, plan
from tables import table

from kneeformer.data.files import read_json, write_json, write_text
from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE as DICE_METRIC
from kneeformer.metrics.summary import summarise, write_summary
from kneeformer.paths import FINAL, LATEST, Folders
from kneeformer.plans import Plan, override
from kneeformer.studies.best_configuration import (
    Candidates,
    find_best_configuration,
)
from kneeformer.studies.chosen_model import BestConfiguration, read_best
from kneeformer.studies.comparable import Comparable
from kneeformer.workflows.fold_state import RUN
from kneeformer.workflows.request import Request

DICE = {"a_00m": 0.8, "a_12m": 0.6, "b_00m": 0.9, "c": 0.5, "d_V1": 0.7}  # of 3d_vit


def both() -> Plan:
    """`plan` with a second configuration of segmentation."""
    configurations = plan().configurations
    linear = configurations["3d_vit"].model_copy(update={"inherits_from": "3d_vit"})
    return plan().model_copy(update={"configurations": {**configurations, "3d_vit_linear": linear}})


@pytest.fixture
def folders(place: Place) -> Folders:
    write_text(place.folders.plan_file(NAME), both().to_text())
    return place.folders


def validate(
    folders: Folders,
    name: str,
    fold: int,
    better: float = 0.0,
    changed: tuple[str, ...] = (),
    plans: str = "kfPlans",
) -> Path:
    """Leave what a training and its validation leave that the command looks at."""
    folder = folders.model(NAME, name, plans) / f"fold_{fold}"
    cases = SPLITS[fold]["val"]
    scores = {c: {"femur": {DICE_METRIC: DICE[c] + better}} for c in cases}
    write_summary(summarise(table(scores, {c: c[0] for c in cases})), folder / "validation")
    write_text(folder / "plan.json", override(both().with_only(name), name, [*changed]).to_text())
    (folder / FINAL).touch()
    return folder


def find(folders: Folders, **wanted: Any) -> tuple[str, BestConfiguration]:
    report, home = find_best_configuration(folders, Candidates(NAME, **wanted, ranking_only=True))
    assert home == folders.results / NAME / "best_configuration"
    assert (home / "table.md").read_text() == report
    found = BestConfiguration.model_validate(read_json(home / "best_configuration.json"))
    assert (home / "prediction_commands.txt").read_text() == f"{found.prediction}\n"
    return report, found


def test_all_that_is_validated_is_compared_and_ranked(folders: Folders) -> None:
    for fold in (0, 1):
        validate(folders, "3d_vit", fold)
        validate(folders, "3d_vit_linear", fold, better=0.05)
        validate(folders, "3d_mae", fold)  # prepares others: no candidate
    copy = validate(folders, "3d_vit", 1)
    shutil.copytree(copy, copy.with_name("fold_1_old"))
    report, found = find(folders)
    assert [row.configuration for row in found.ranking] == ["3d_vit_linear", "3d_vit"]
    assert (found.folds, found.cases, found.left_out, found.to_compare_more) == ((0, 1), 5, (), ())
    best, other = found.ranking
    assert best.subjects == pytest.approx({"a": 0.75, "b": 0.95, "c": 0.55, "d": 0.75})
    assert best.score.mean == pytest.approx(0.75)
    assert other.difference is not None  # 0.05 in every subject: the interval has no width
    assert other.difference.interval == pytest.approx((-0.05, -0.05, -0.05))
    assert "| 3d_vit | 0 1 | 5 | 0.7000 (" in report and "-0.0500 (-0.0500 to -0.0500) |" in report
    assert "3d_vit_linear is significantly better than all others" in report
    assert found.prediction == (
        f'kf_predict -i "$kf_raw"/{NAME}/imagesTs -o "$kf_results"/{NAME}/best_configuration/predictions '
        f"-d {NAME} -p kfPlans -c 3d_vit_linear -f 0 1"
    )


def test_what_was_chosen_is_read_by_number_or_name(folders: Folders) -> None:
    with pytest.raises(KneeformerError, match="nothing is chosen yet; first type\n    kf_find_best_conf"):
        read_best(folders.results, "1")
    validate(folders, "3d_vit", 0)
    _, found = find(folders)
    assert found.chosen == {"3d_vit": (0,)} and found.description() == "3d_vit"
    for named in ("1", "001", NAME, None):
        assert read_best(folders.results, named) == found
    shutil.copytree(folders.results / NAME, folders.results / "Dataset002_More")
    with pytest.raises(KneeformerError, match=f"chosen for {NAME}, Dataset002_More; name one with -d"):
        read_best(folders.results, None)


def test_configurations_of_several_plans_are_compared_and_the_best_predicts_by_its_own(
    folders: Folders,
) -> None:
    mine = plan().model_copy(update={"plans_name": "myPlans"})
    write_text(folders.plan_file(NAME, "myPlans"), mine.to_text())
    validate(folders, "3d_vit", 0)
    validate(folders, "3d_vit", 0, better=0.05, changed=("network.depth=2",), plans="myPlans")
    report, found = find(folders, plans=("kfPlans", "myPlans"))
    assert [row.configuration for row in found.ranking] == ["myPlans__3d_vit", "kfPlans__3d_vit"]
    assert found.left_out == ("kfPlans__3d_vit_linear: not trained and validated in fold 0",)
    assert found.to_compare_more == (f"kf_train {NAME} 3d_vit_linear fold_0 -p kfPlans",)
    assert "| myPlans__3d_vit | 0 |" in report and found.prediction.endswith("-p myPlans -c 3d_vit -f 0")
    assert found.models(folders.results) == {folders.model(NAME, "3d_vit", "myPlans"): (0,)}


def test_the_folds_that_all_have_are_compared_and_all_of_the_best_predict(folders: Folders) -> None:
    validate(folders, "3d_vit", 0)
    validate(folders, "3d_vit", 1)
    validate(folders, "3d_vit_linear", 0, better=-0.1)
    report, found = find(folders)
    assert (found.folds, found.cases) == ((0,), 2)
    assert found.left_out == ("fold 1 of 3d_vit: not trained and validated in every other",)
    assert found.to_compare_more == (f"kf_train {NAME} 3d_vit_linear fold_1 -p kfPlans",)
    assert f"    {found.to_compare_more[0]}\n" in report and found.left_out[0] in report
    assert found.prediction.endswith("-c 3d_vit -f 0 1")
    assert "significance cannot be estimated" in report and found.ranking[0].score.mean == pytest.approx(0.7)


def test_one_alone_is_the_best_and_the_rest_is_told_how_to_train(folders: Folders) -> None:
    validate(folders, "3d_vit", 1)
    (folders.model(NAME, "3d_vit_linear") / "fold_1").mkdir(parents=True)
    report, found = find(folders)
    assert "3d_vit is the only one" in report
    assert found.left_out == ("3d_vit_linear: not trained and validated in fold 1",)
    assert found.to_compare_more == (f"kf_train {NAME} 3d_vit_linear fold_1 -p kfPlans",)
    for file in (RUN, LATEST):
        (folders.model(NAME, "3d_vit_linear") / "fold_1" / file).touch()
    assert find(folders)[1].to_compare_more[0].endswith(" fold_1 -p kfPlans --c")
    (folders.model(NAME, "3d_vit_linear") / "fold_1" / FINAL).touch()
    assert find(folders)[1].to_compare_more[0].endswith(" fold_1 -p kfPlans --val")


def test_where_nothing_is_trained_it_is_told_what_to_type(folders: Folders) -> None:
    with pytest.raises(
        KneeformerError, match="no configuration is trained and validated; first type"
    ) as fault:
        find(folders)
    assert str(fault.value).splitlines()[1:] == [
        f"  kf_train {NAME} {name} fold_0 -p kfPlans" for name in ("3d_vit", "3d_vit_linear")
    ]
    assert not folders.results.exists()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"folds": (0, 1)},
            "validated on all of folds 0 1; first type\n  kf_train Dataset001_Knee 3d_vit fold_1",
        ),
        ({"folds": (0, 7)}, "fold_7 does not exist: the dataset has folds 0 to 1"),
        (
            {"configurations": ("3d_vit", "3d_mae")},
            "3d_mae cannot be compared; .* can: 3d_vit, 3d_vit_linear$",
        ),
        (
            {"configurations": ("3d_vit_linear",)},
            "first type\n  kf_train Dataset001_Knee 3d_vit_linear fold_0",
        ),
    ],
)
def test_what_cannot_be_compared_is_told(folders: Folders, wanted: dict[str, Any], said: str) -> None:
    validate(folders, "3d_vit", 0)
    with pytest.raises(KneeformerError, match=said):
        find(folders, **wanted)


def test_a_fold_can_be_chosen(folders: Folders) -> None:
    for fold in (0, 1):
        validate(folders, "3d_vit", fold)
    validate(folders, "3d_vit_linear", 0, better=0.1)
    _, found = find(folders, folds=(1,))
    assert [row.configuration for row in found.ranking] == ["3d_vit"] and found.folds == (1,)
    assert found.left_out == ("3d_vit_linear: not trained and validated in fold 1",)
    assert found.prediction.endswith("-c 3d_vit -f 1")
    _, found = find(folders, configurations=("3d_vit",))
    assert found.folds == (0, 1) and not found.left_out


def test_other_cases_than_the_splits_have_now_are_refused(folders: Folders) -> None:
    validate(folders, "3d_vit", 0)
    validate(folders, "3d_vit_linear", 0)
    write_json(folders.preprocessed / NAME / "splits_final.json", SPLITS[::-1])
    with pytest.raises(KneeformerError, match="validated on other cases than splits_final") as fault:
        find(folders)
    assert "kf_train Dataset001_Knee 3d_vit fold_0 -p kfPlans --overwrite" in str(fault.value)
    assert not (folders.results / NAME / "best_configuration").exists()


def test_label_maps_changed_since_the_validation_are_told(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores of the old label maps would be compared with those of the corrected ones."""
    validated = validate(folders, "3d_vit", 0)
    find(folders)
    assert caplog.messages == []
    first = SPLITS[0]["val"][0]
    later = (validated / "validation" / "summary.json").stat().st_mtime + 9
    for name in (first, SPLITS[0]["train"][0]):
        os.utime(folders.raw / NAME / "labelsTr" / f"{name}.nrrd", (later, later))
    find(folders)
    assert caplog.messages == [
        f"{validated}: scored before the label maps of {first} were changed; validate again: "
        f"kf_train {NAME} 3d_vit fold_0 -p kfPlans --val"
    ]
    (folders.raw / NAME / "labelsTr" / f"{first}.nrrd").unlink()
    caplog.clear()
    find(folders)
    assert caplog.messages == []


def test_folds_of_different_networks_are_no_one_configuration(folders: Folders) -> None:
    validate(folders, "3d_vit", 0)
    validate(folders, "3d_vit", 1, changed=("training.learning_rate=0.1",))  # the same network
    find(folders)
    validate(folders, "3d_vit", 1, changed=("network.depth=2",))
    with pytest.raises(KneeformerError, match=r"fold_1: trained by another plan than .*fold_0"):
        find(folders)
    find(folders, folds=(1,))


@pytest.mark.parametrize(
    ("validated", "configurations", "folds"),
    [
        ({"a": (0, 1, 2), "b": (0, 2), "c": (2, 3)}, ("a", "b", "c"), (2,)),
        ({"a": (0, 1), "b": (0, 1), "c": (3,)}, ("a", "b"), (0, 1)),
        ({"a": (3,), "b": (0, 1, 2), "c": ()}, ("b",), (0, 1, 2)),  # one either way: the one of more folds
        ({"a": (0, 1), "b": (1, 2, 3), "c": (2, 3)}, ("b", "c"), (2, 3)),
        ({"a": (), "b": ()}, (), ()),
    ],
)
def test_as_many_as_possible_are_compared_on_as_many_folds_as_they_share(
    validated: dict[str, tuple[int, ...]], configurations: tuple[str, ...], folds: tuple[int, ...]
) -> None:
    chosen = Comparable.choose(validated, None)
    assert (chosen.configurations, chosen.folds) == (configurations, folds)


def test_no_network_is_loaded_nor_its_library() -> None:
    ask = "import sys, kneeformer.studies.best_configuration; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_a_shell_reads_the_command_whatever_the_dataset_is_called(folders: Folders) -> None:
    validate(folders, "3d_vit", 0)
    name = 'Dataset007_Ann\'s "left" $knee'
    for root in (folders.raw, folders.preprocessed, folders.results):
        (root / NAME).rename(root / name)
    renamed = both().dataset.model_copy(update={"name": name})
    write_text(folders.plan_file(name), both().model_copy(update={"dataset": renamed}).to_text())
    _, home = find_best_configuration(folders, Candidates(name, ranking_only=True))
    script = "kf_predict() { printf '%s\\n' \"$@\"; }; " + (home / "prediction_commands.txt").read_text()
    places = {"kf_raw": "/r aw", "kf_results": "/r"}
    said = subprocess.run(["sh", "-c", script], env=places, capture_output=True, check=True, text=True).stdout
    assert said.splitlines()[:6] == [
        *("-i", f"/r aw/{name}/imagesTs", "-o", f"/r/{name}/best_configuration/predictions", "-d", name)
    ]
    command = Request(name, "3d_vit", 0).command("--val")
    assert shlex.split(command) == ["kf_train", name, "3d_vit", "fold_0", "-p", "kfPlans", "--val"]
