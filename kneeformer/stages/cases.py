"""Which prepared cases a fold learns from and is watched on."""

from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case, Dataset, list_cases
from kneeformer.data.files import read_json
from kneeformer.data.splits import Split, fold_cases
from kneeformer.data.storage import stored_key
from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plan import Plan
from kneeformer.stages.fingerprint import Watch, default_processes
from kneeformer.stages.preprocess import preprocess_cases
from kneeformer.stages.request import Request
from kneeformer.tasks import task_named
from kneeformer.tasks.base import StoredCases


def split_of(folders: Folders, request: Request) -> Split:
    """The fold's cases; of a dataset without labels, none.

    Raises:
        KneeformerError: no such fold.
    """
    file = folders.preprocessed / request.dataset / "splits_final.json"
    if file.is_file():
        return fold_cases(read_json(file), request.fold_name)
    if request.fold_name != "fold_all":
        raise KneeformerError(
            f"{file}: no such file, so there is no {request.fold_name}; a dataset without labels has the "
            f"fold all alone, any other needs kf_plan_and_preprocess -d {request.dataset}"
        )
    return {"train": [], "val": []}


def learning_cases(
    folders: Folders, request: Request, plan: Plan, watch: Watch
) -> tuple[StoredCases, StoredCases]:
    """Prepared cases to learn from, and to watch.

    A task without labels learns from the fold's training images, from imagesUn, and from the dataset of
    `pretrain_from`; of these two never from a subject of the fold's validation cases or of imagesTs. Where
    nothing is held out, what is watched is learnt from.

    Raises:
        KneeformerError: cases are not prepared.
    """
    split, configuration = split_of(folders, request), plan.configuration(request.configuration)
    stored = folders.preprocessed / request.dataset / configuration.preprocessing.folder
    names = split["train"]
    borrowed: list[Path] = []
    if request.subjects is not None:
        names = _some_subjects(folders, request, names)
    if not task_named(configuration.task).needs_labels:
        dataset = Dataset.open(folders.raw / request.dataset)
        held_out = _held_out(dataset, split)
        names = [*names, *(c.name for c in _without(held_out, dataset, dataset.unlabelled_cases()))]
        if request.pretrain_from is not None:
            borrowed = _borrowed(folders, request, plan, held_out, watch)
    _require_prepared(stored, {*names, *split["val"]}, request)
    training = StoredCases([*(stored / n for n in names), *borrowed])
    if not training.cases:
        raise KneeformerError(f"{folders.raw / request.dataset}: no cases to learn from")
    return training, StoredCases([stored / n for n in split["val"]] or training.cases)


def _held_out(dataset: Dataset, split: Split) -> set[str]:
    """Subjects that validate or test."""
    tests = [c.name for c in list_cases(dataset.folder / "imagesTs", dataset.description)]
    learnt = set(split["train"])  # in the fold "all", what is watched trains as well
    return {dataset.description.subject(c) for c in (*split["val"], *tests) if c not in learnt}


def _without(held_out: set[str], dataset: Dataset, cases: list[Case]) -> list[Case]:
    return [c for c in cases if dataset.description.subject(c.name) not in held_out]


def refuse_more_subjects(folders: Folders, request: Request) -> None:
    """Raises KneeformerError: the fold's training has fewer labelled subjects than the request wants."""
    subject = Dataset.open(folders.raw / request.dataset).description.subject
    there = len({subject(name) for name in split_of(folders, request)["train"]})
    if request.subjects is not None and request.subjects > there:
        raise KneeformerError(f"{request.fold_name} has {there} labelled subjects, not {request.subjects}")


def _some_subjects(folders: Folders, request: Request, names: list[str]) -> list[str]:
    refuse_more_subjects(folders, request)
    subject = Dataset.open(folders.raw / request.dataset).description.subject
    subjects = sorted({subject(name) for name in names})
    count = request.subjects or 0
    order = np.random.default_rng(request.seed or 0).permutation(len(subjects))
    chosen = {subjects[i] for i in order[:count]}
    return [name for name in names if subject(name) in chosen]


def _borrowed(folders: Folders, request: Request, plan: Plan, held_out: set[str], watch: Watch) -> list[Path]:
    """Every image of the other dataset, but of subjects of the same name as one held out here, prepared by
    this one's plan.
    """
    other = Dataset.open(folders.raw / str(request.pretrain_from))
    here = len(plan.dataset.channel_names)
    if len(other.description.channels) != here:
        raise KneeformerError(
            f"{other.folder}: {len(other.description.channels)} channels, and {request.dataset} has {here}; "
            f"--pretrain_from needs a dataset of the same channels"
        )
    every = [Case(c.name, c.images) for c in (*other.training_cases(), *other.unlabelled_cases())]
    cases = _without(held_out, other, every)
    configuration = plan.configuration(request.configuration)
    name = f"{configuration.preprocessing.folder}__{other.name}"
    folder = folders.preprocessed / request.dataset / name
    preprocess_cases(cases, other, configuration, folder, default_processes(), watch)
    return [folder / c.name for c in cases]


def _require_prepared(stored: Path, names: set[str], request: Request) -> None:
    missing = sorted(c for c in names if stored_key(stored, c) is None)
    if missing:
        raise KneeformerError(
            f"{stored}: {len(missing)} cases are not preprocessed ({', '.join(missing[:5])}); run "
            f"kf_preprocess -d {request.dataset} -c {request.configuration}"
        )
