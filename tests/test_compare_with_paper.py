"""Trained configurations beside the published figures: what is found, pooled, and missing."""

from pathlib import Path

import pytest
from tables import table

from kneeformer.metrics.metric import Metric
from kneeformer.metrics.overlap import DICE, IOU, RECALL
from kneeformer.metrics.summary import summarise, write_summary
from kneeformer.paths import Folders
from kneeformer.studies.compare_with_paper import KNEE_PAPER, compare_with_paper, comparison_table

NAME = "Dataset007_Knee"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results")


def scores(dice: float) -> dict[str, dict[Metric, float]]:
    """Of a femur and of a patella that is 0.2 worse."""
    return {
        n: dict.fromkeys((DICE, IOU, RECALL), dice - off) for n, off in (("femur", 0.0), ("patella", 0.2))
    }


def validated(folders: Folders, plans: str, configuration: str, fold: int, dice: dict[str, float]) -> None:
    summary = summarise(table({c: scores(d) for c, d in dice.items()}))
    write_summary(summary, folders.model(NAME, configuration, plans) / f"fold_{fold}" / "validation")


def test_nothing_trained_yet(folders: Folders) -> None:
    comparison = compare_with_paper(folders, NAME)
    assert not comparison.trained
    assert comparison.missing == [
        "kf_plan_and_preprocess -d 7 -pl default",
        "kf_train 7 3d_vit fold0 -p kfPlans",
        "kf_train 7 3d_vit_linear fold0 -p kfPlans",
        "kf_plan_and_preprocess -d 7 -pl paper",
        "kf_train 7 3d_vit fold0 -p paperPlans",
        "kf_train 7 3d_vit_linear fold0 -p paperPlans",
    ]


def test_folds_are_pooled_by_case(folders: Folders) -> None:
    validated(folders, "kfPlans", "3d_vit", 0, {"a": 0.9, "b": 0.8})
    validated(folders, "kfPlans", "3d_vit", 1, {"c": 0.4})
    (trained,) = compare_with_paper(folders, NAME).trained
    assert (trained.plans, trained.configuration, trained.folds) == (
        "kfPlans",
        "3d_vit",
        ("fold_0", "fold_1"),
    )
    assert trained.summary.cases == 3
    assert trained.summary.foreground_mean["Dice"] == pytest.approx((0.9 + 0.8 + 0.4) / 3 - 0.1)


def test_one_fold_keeps_its_own_numbers(folders: Folders) -> None:
    dice = {"a": 0.9, "b": 0.8, "c": 0.5}
    validated(folders, "paperPlans", "3d_vit_linear", 2, dice)
    (trained,) = compare_with_paper(folders, NAME).trained
    own = summarise(table({c: scores(d) for c, d in dice.items()}))
    assert trained.summary.foreground_mean == own.foreground_mean
    assert trained.summary.foreground_mean_interval == own.foreground_mean_interval


def test_what_is_planned_is_not_planned_again(folders: Folders) -> None:
    validated(folders, "kfPlans", "3d_vit", 0, {"a": 0.9, "b": 0.8})
    for plans in ("kfPlans", "paperPlans"):
        folders.plan_file(NAME, plans).parent.mkdir(parents=True, exist_ok=True)
        folders.plan_file(NAME, plans).write_text("{}")
    validated(folders, "paperPlans", "3d_vit_linear", 0, {"a": 0.9, "b": 0.8})
    assert compare_with_paper(folders, NAME).missing == [
        "kf_train 7 3d_vit_linear fold0 -p kfPlans",
        "kf_train 7 3d_vit fold0 -p paperPlans",
    ]


def test_the_table_has_the_published_row_and_ours(folders: Folders) -> None:
    assert KNEE_PAPER == {"Dice": 0.8727, "IoU": 0.8385, "Recall": 0.9290}
    validated(folders, "kfPlans", "3d_vit", 0, {"a": 0.9, "b": 0.8})
    validated(folders, "paperPlans", "3d_vit_linear", 0, {"a": 0.7})
    text = comparison_table(compare_with_paper(folders, NAME).trained)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "published 0.8727 0.8385 0.9290" in lines
    assert "kfPlans 3d_vit 0 2 0.7500 0.700-0.800 0.7500 0.700-0.800 0.7500 0.700-0.800" in lines
    assert "paperPlans 3d_vit_linear 0 1 0.6000 - 0.6000 - 0.6000 -" in lines  # one subject: no interval
    assert all(len(line) <= 100 for line in text.splitlines())
