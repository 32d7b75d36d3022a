"""Scores of prepared cases are read where they are of these cases, as they are prepared now."""

import os
from pathlib import Path

import pytest

from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import Part, ScoreTable, rows_of
from kneeformer.metrics.summary import summarise, write_summary
from kneeformer.studies.prepared_scores import score_prepared_cases

SUBJECTS = {"a_L": "a", "b_R": "b"}


def test_stored_scores_are_of_these_cases_and_not_older_than_them(tmp_path: Path) -> None:
    fold, prepared = tmp_path / "model" / "fold_0", tmp_path / "prepared"
    rows = [score for case in SUBJECTS for score in rows_of(case, Part("bone"), {DICE: 0.5})]
    table = ScoreTable(tuple(rows), SUBJECTS)
    prepared.mkdir()
    for case in SUBJECTS:
        (prepared / f"{case}.json").touch()
        os.utime(prepared / f"{case}.json", (1, 1))
    write_summary(summarise(table), fold / "validation" / "prepared")

    def scores(subjects: dict[str, str]) -> ScoreTable:
        return score_prepared_cases(fold, prepared, subjects, "cpu", lambda *_: None)

    assert scores(SUBJECTS) == table
    with pytest.raises(KneeformerError, match="not prepared: c_L"):
        scores(SUBJECTS | {"c_L": "c"})
    (prepared / "a_L.json").touch()
    with pytest.raises(KneeformerError, match="no trained fold"):  # the network is wanted
        scores(SUBJECTS)
