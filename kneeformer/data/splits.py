"""Which subjects train and which validate, in each fold."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import read_json, write_json
from kneeformer.errors import KneeformerError

Split = dict[str, list[str]]  # {"train": [...], "val": [...]}


def make_splits(subject_of: dict[str, str], seed: int = 12345) -> list[Split]:
    """Cross-validation folds in which no subject is on both sides.

    min(5, subjects) folds; under five subjects that is leave-one-out. Subjects are shuffled with the
    seed and dealt out in turn.

    Args:
        subject_of: subject of each case.

    Raises:
        KneeformerError: fewer than two subjects.
    """
    subjects = sorted(set(subject_of.values()))
    if len(subjects) < 2:
        raise KneeformerError(
            f"{len(subjects)} labelled subject: cross-validation needs two. Add a case of another subject, "
            f'or name the subjects in dataset.json ("subjects": {{"CASE": "SUBJECT"}})'
        )
    order = np.random.default_rng(seed).permutation(len(subjects))
    folds = min(5, len(subjects))
    held_out = [{subjects[i] for i in order[k::folds]} for k in range(folds)]
    return [
        {
            "train": sorted(c for c, s in subject_of.items() if s not in out),
            "val": sorted(c for c, s in subject_of.items() if s in out),
        }
        for out in held_out
    ]


def load_or_make_splits(file: Path, subject_of: dict[str, str]) -> list[Split]:
    """The splits stored in `file`, made and stored first where it is missing. A person may edit it.

    Raises:
        KneeformerError: the file names a case that does not exist, leaves a fold without cases, or puts
            one subject on both sides of a fold.
    """
    if not file.is_file():
        write_json(file, make_splits(subject_of))
    splits: list[Split] = read_json(file)
    problems = [] if isinstance(splits, list) and splits else ["not a list of folds"]
    problems += [p for k, split in enumerate(splits) for p in _problems(k, split, subject_of)]
    if problems:
        raise KneeformerError(
            f"{file}: mend it, or delete it to have new splits made\n" + "\n".join(f"  {p}" for p in problems)
        )
    return splits


def _problems(fold: int, split: Split, subject_of: dict[str, str]) -> list[str]:
    if not isinstance(split, dict):
        return [f'fold {fold}: not {{"train": [...], "val": [...]}}']
    found = [f"fold {fold}: no {part!r} cases" for part in ("train", "val") if not split.get(part)]
    if found:
        return found
    unknown = sorted({*split["train"], *split["val"]} - set(subject_of))
    if unknown:
        return [f"fold {fold}: no such case: {', '.join(unknown)}"]
    sides = [{subject_of[c] for c in split[part]} for part in ("train", "val")]
    both = sorted(sides[0] & sides[1])
    return [f"fold {fold}: subject {', '.join(both)} is in train and in val"] if both else []


def fold_cases(splits: list[Split], fold: str) -> Split:
    """Cases of "fold_0", "fold_1", ... or "fold_all" (everything trains; the first fold's val is watched).

    Raises:
        KneeformerError: no such fold.
    """
    if fold == "fold_all":
        everything = sorted({c for s in splits for part in ("train", "val") for c in s[part]})
        return {"train": everything, "val": splits[0]["val"]}
    number = int(fold.removeprefix("fold_"))
    if number >= len(splits):
        raise KneeformerError(f"{fold} does not exist: the dataset has folds 0 to {len(splits) - 1}, and all")
    return splits[number]
