"""Splits: the subjects that train and those that validate, in each fold."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.files import read_json, write_json
from kneeformer.data.image_folder import composed
from kneeformer.errors import KneeformerError, first_few

Split = dict[str, list[str]]  # {"train": [...], "val": [...]}


def make_splits(subject_of: Mapping[str, str], seed: int = 12345) -> list[Split]:
    """Cross-validation folds in which no subject is on both sides.

    min(5, subjects) folds; below five subjects this is leave-one-out. Subjects are shuffled with the
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


def load_or_make_splits(file: Path, subject_of: Mapping[str, str]) -> list[Split]:
    """The splits stored in `file`, which is made first if it is missing. A person may edit it.

    Raises:
        KneeformerError: as `read_splits`.
    """
    if not file.is_file():
        write_json(file, make_splits(subject_of))
    return read_splits(file, subject_of)


def read_splits(file: Path, subject_of: Mapping[str, str]) -> list[Split]:
    """The splits stored in `file`, as nnU-Net writes them: a list of {"train": [...], "val": [...]}.

    Args:
        subject_of: subject of each case there is.

    Raises:
        KneeformerError: the file is missing or of another form; a fold names a case that does not exist, or
            one twice, leaves a side empty, or has one subject on both sides. Every fault, fold by fold.
    """
    splits: list[Split] = _composed(read_json(file))
    if not isinstance(splits, list) or not splits:
        problems = ['not a list of folds, [{"train": [...], "val": [...]}, ...]']
    else:
        problems = [f"fold {k}: {p}" for k, split in enumerate(splits) for p in _problems(split, subject_of)]
    if problems:
        if any("no such case" in problem for problem in problems):
            problems.append(f"the cases are {_listed(subject_of)}")
        raise KneeformerError(
            f"{file}: fix it, or move it away and make new splits with kf_plan\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    return splits


def _composed(content: Any) -> Any:
    """The same with all names in composed Unicode, as those of cases are."""
    if isinstance(content, list):
        return [_composed(part) for part in content]
    if isinstance(content, dict):
        return {key: _composed(part) for key, part in content.items()}
    return composed(content) if isinstance(content, str) else content


def _problems(split: Any, subject_of: Mapping[str, str]) -> list[str]:
    if not isinstance(split, dict):
        return ['not {"train": [...], "val": [...]}']
    sides: dict[str, Any] = {part: split.get(part) for part in ("train", "val")}
    misshapen = [
        f"{part!r} is not a list of names of cases" if part in split else f"no {part!r}"
        for part, names in sides.items()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names)
    ]
    if misshapen:
        return misshapen
    problems = []
    for part, names in sides.items():
        if not names:
            problems.append(f"{part!r} is empty")
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            problems.append(f"{part!r} names {_listed(twice)} more than once")
        if unknown := set(names) - set(subject_of):
            problems.append(f"{part!r} names {_listed(unknown)}, and there is no such case")
    train, val = ({subject_of[name] for name in names if name in subject_of} for names in sides.values())
    if both := train & val:
        problems.append(f"subject {_listed(both)} is in 'train' and in 'val'")
    return problems


def _listed(names: Iterable[str]) -> str:
    return first_few(sorted(names), 20)


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
