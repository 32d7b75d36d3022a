"""What a dataset's folds can neither teach nor test is said fold by fold."""

from kneeformer.planning.coverage import uncovered

SPLITS = [
    {"train": ["b", "c"], "val": ["a"]},
    {"train": ["a", "c"], "val": ["b"]},
    {"train": ["a", "b"], "val": ["c"]},
]
EVERYWHERE = {"femur": 9.0, "tibia": 8.0}


def test_a_structure_of_all_cases_needs_no_word() -> None:
    assert uncovered(SPLITS, dict.fromkeys("abc", EVERYWHERE), ("femur", "tibia")) == []


def test_a_structure_of_one_case_is_missing_somewhere_in_every_fold() -> None:
    volumes = {"a": EVERYWHERE, "b": {**EVERYWHERE, "patella": 0.5}, "c": {**EVERYWHERE, "patella": 0.0}}
    assert uncovered(SPLITS, volumes, ("femur", "tibia", "patella", "fibula")) == [
        "patella: b alone has it; no train case has it in fold 1: cannot be learnt there; "
        "no val case has it in fold 0, 2: cannot be validated there",
        "fibula: no case has it",
    ]


def test_folds_of_a_person_may_leave_a_structure_out_that_two_cases_have() -> None:
    volumes = {"a": {"femur": 1.0}, "b": {"femur": 1.0}, "c": {"femur": 0.0}, "d": {"femur": 0.0}}
    assert uncovered([{"train": ["c"], "val": ["a", "b", "d"]}], volumes, ("femur",)) == [
        "femur: no train case has it in fold 0: cannot be learnt there"
    ]


def test_cases_that_no_fold_names_are_told() -> None:
    volumes = dict.fromkeys("abcde", EVERYWHERE)
    assert uncovered(SPLITS, volumes, ("femur",)) == [
        "in no fold, so neither learnt from nor validated on: d, e; add them, or move the file away to make "
        "new splits"
    ]
