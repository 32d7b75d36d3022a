"""Configurations ranked: by hand, of subjects and not of cases, with the significance of each difference."""

import math
from collections.abc import Mapping

import pytest
from tables import table

from kneeformer.errors import KneeformerError
from kneeformer.metrics import overlap
from kneeformer.metrics.score_table import Score, ScoreTable
from kneeformer.metrics.shape_completion import COMPOSITE, HIDDEN
from kneeformer.metrics.shape_completion import RMSD as RMSD_MM
from kneeformer.studies.ranking import Ranked, rank, ranking_table
from kneeformer.tasks.registry import evaluation_of, registered, task_named, task_names

DICE, RMSD = (evaluation_of(task).leading for task in ("segmentation", "completion"))


def segmented(dice: Mapping[str, float], without: Mapping[str, tuple[str, ...]] | None = None) -> ScoreTable:
    """Cases of the subject that their first letter is: a femur, and a patella that is 0.2 worse.

    Args:
        without: structures that a case says nothing of.
    """
    cases = {
        c: {"femur": {overlap.DICE: d + 0.1}, "patella": {overlap.DICE: d - 0.1}} for c, d in dice.items()
    }
    for case, structures in (without or {}).items():
        cases[case] |= {structure: {overlap.DICE: math.nan} for structure in structures}
    return table(cases, {case: case[0] for case in dice})


def completed(rmsd_mm: Mapping[str, float]) -> ScoreTable:
    """Of which the composite would say the contrary."""
    rows = [
        Score(case, "tibia", region, RMSD_MM, value)
        for case, v in rmsd_mm.items()
        for region, value in ((HIDDEN, v), (COMPOSITE, 1 / v))
    ]
    return ScoreTable(tuple(rows), {case: case for case in rmsd_mm})


def numbers(row: Ranked) -> tuple[float, ...]:
    return (*row.score.interval, *(row.difference.interval if row.difference else ()))


def test_every_task_that_predicts_has_a_score_that_leads() -> None:
    for name in task_names():
        assert (registered(name).evaluation is not None) == task_named(name).predicts


def test_a_ranking_by_hand() -> None:
    # Of two subjects a draw is one twice, both, or the other twice: the interval is from one to the other.
    ranking = rank(
        {
            "third": segmented({"a": 0.5, "b": 0.6}),
            "second": segmented({"a": 0.8, "b": 0.75}),
            "best": segmented({"a": 0.9, "b": 0.7}),
        },
        DICE,
    )
    assert [row.configuration for row in ranking] == ["best", "second", "third"]
    best, second, third = ranking
    assert numbers(best) == pytest.approx((0.8, 0.7, 0.9)) and best.difference is None
    assert numbers(second) == pytest.approx((0.775, 0.75, 0.8, -0.025, -0.1, 0.05))
    assert numbers(third) == pytest.approx((0.55, 0.5, 0.6, -0.25, -0.4, -0.1))
    assert [r.difference.significant for r in ranking if r.difference] == [False, True]
    text = ranking_table(ranking, DICE, (0, 1), 2)
    assert "| best | 0 1 | 2 | 0.8000 (0.7000 to 0.9000) |  |" in text
    assert "| second | 0 1 | 2 | 0.7750 (0.7500 to 0.8000) | -0.0250 (-0.1000 to +0.0500) |" in text
    assert "best is not significantly better than second: the interval of the difference includes 0" in text


def test_of_completions_the_nearest_region_is_best() -> None:
    ranking = rank({"far": completed({"a": 2, "b": 4}), "near": completed({"a": 1, "b": 2})}, RMSD)
    assert [row.configuration for row in ranking] == ["near", "far"]
    assert numbers(ranking[1]) == pytest.approx((3, 2, 4, 1.5, 1, 2))
    text = ranking_table(ranking, RMSD, (0,), 2)
    assert "lower is better" in text and "near is significantly better than all others" in text


def test_a_subject_counts_once() -> None:
    ranking = rank(
        {
            "one": segmented({"a1": 0.9, "a2": 0.9, "b": 0.3}),
            "two": segmented({"a1": 0.5, "a2": 0.7, "b": 0.7}),
        },
        DICE,
    )
    assert [row.configuration for row in ranking] == ["two", "one"]  # by case, it would be the other way
    assert ranking[0].subjects == pytest.approx({"a": 0.6, "b": 0.7})


def test_what_a_case_says_nothing_of_does_not_count() -> None:
    first = {"a": 0.8, "b": 0.4, "c": 0.6}
    second = segmented({"a": 0.7, "b": 0.9, "c": 0.6}, {"b": ("femur", "patella")})
    ranking = rank({"first": segmented(first, {"a": ("patella",)}), "second": second}, DICE)
    assert [set(row.subjects) for row in ranking] == [{"a", "c"}] * 2  # b is gone from both
    assert ranking[0].subjects == pytest.approx({"a": 0.9, "c": 0.6})
    assert numbers(ranking[1]) == pytest.approx((0.65, 0.6, 0.7, -0.1, -0.2, 0))
    with pytest.raises(KneeformerError, match="Dice is defined in no subject for all of first, second"):
        rank(
            {"first": segmented({"a": 0.8}, {"a": ("femur", "patella")}), "second": segmented({"a": 1})}, DICE
        )


def test_one_subject_cannot_tell() -> None:
    ranking = rank({"best": segmented({"a": 0.9}), "other": segmented({"a": 0.7})}, DICE)
    assert ranking[1].difference is not None and not ranking[1].difference.significant
    text = ranking_table(ranking, DICE, (0,), 1)
    assert "| other | 0 | 1 | 0.7000 | -0.2000 |" in text and "significance cannot be estimated" in text


def test_of_equal_ones_the_first_leads() -> None:
    scores = {name: segmented({"a": 0.7, "b": 0.8}) for name in ("3d_vit", "3d_vit_linear")}
    ranking = rank(scores, DICE)
    assert [row.configuration for row in ranking] == ["3d_vit", "3d_vit_linear"]
    assert numbers(ranking[1])[3:] == (0, 0, 0) and not ranking[1].difference.significant  # type: ignore[union-attr]
    alone = ranking_table(rank({"3d_vit": scores["3d_vit"]}, DICE), DICE, (0,), 2)
    assert "3d_vit is the only one" in alone
