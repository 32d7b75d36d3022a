"""The prepared training and validation cases of a fold."""

import logging
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case, Dataset, list_cases
from kneeformer.data.processes import default_processes
from kneeformer.data.splits import Split, fold_cases
from kneeformer.data.storage import Origin
from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plans import Plan, read_plan
from kneeformer.progress import Progress
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.prepared import (
    GONE,
    Wanted,
    files_digest,
    listed,
    settings_digest,
    stale_cases,
)
from kneeformer.workflows.preprocess import preprocess_cases
from kneeformer.workflows.raw_data import (
    dataset_splits,
    raw_dataset,
    refuse_another_description,
    whose_cases,
)
from kneeformer.workflows.request import Request

FEWEST_LABELLED = 3  # subjects that a teacher learns from


def split_of(folders: Folders, request: Request) -> Split:
    """The names of the fold's cases; empty for a dataset without labels.

    Raises:
        KneeformerError: no such fold, or anything is wrong with the splits.
    """
    file = folders.preprocessed / request.dataset / "splits_final.json"
    if file.is_file():
        return fold_cases(dataset_splits(folders, request.dataset), request.fold_name)
    if request.fold_name != "fold_all":
        raise KneeformerError(
            f"{file}: no such file, so there is no {request.fold_name}; a dataset without labels has the "
            f"fold all alone, any other needs kf_plan_and_preprocess -d {shlex.quote(request.dataset)}"
        )
    return {"train": [], "val": []}


def learning_cases(
    folders: Folders, request: Request, plan: Plan, watch: Progress
) -> tuple[StoredCases, StoredCases]:
    """The prepared cases to train on, and those for the validation crops.

    A task without labels learns from the fold's training images, from imagesUn and from the dataset of
    `pretrain_from`, but never from subjects of the fold's validation cases or of imagesTs. A teacher labels
    images of imagesUn under the same condition, and those of training subjects that the request leaves out.
    Where nothing is held out, the validation crops come from training cases.

    Raises:
        KneeformerError: prepared cases are missing, outdated or damaged.
    """
    split, configuration = split_of(folders, request), plan.configuration(request.configuration)
    stored = folders.preprocessed / request.dataset / configuration.preprocessing.folder
    names = split["train"]
    borrowed: list[Path] = []
    unlabelled: list[str] = []
    if request.subjects is not None:
        names = _some_subjects(folders, request, names)
    if configuration.learns_without_labels:
        unlabelled = _unlabelled(folders, request, split, names)
    if not task_named(configuration.task).needs_labels:
        dataset = _images_there(folders, request)
        held_out = _held_out(dataset, split)
        names = [*names, *(c.name for c in _without(held_out, dataset, dataset.unlabelled_cases()))]
        if request.pretrain_from is not None:
            borrowed = _borrowed(folders, request, plan, held_out, watch)
    _require_prepared(folders, request, plan, {*names, *split["val"]}, {*unlabelled})
    cases, others = [*(stored / n for n in names), *borrowed], [stored / n for n in unlabelled]
    whose = whose_cases(folders, request.dataset)
    training = StoredCases(cases, others, {name: whose(name) for name in names})
    if not training.cases:
        raise KneeformerError(f"{folders.raw / request.dataset}: no cases to learn from")
    if not split["val"]:
        return training, StoredCases(training.cases, whose=training.whose)
    validation = [stored / name for name in split["val"]]
    return training, StoredCases(validation, whose={name: whose(name) for name in split["val"]})


def _unlabelled(folders: Folders, request: Request, split: Split, labelled: list[str]) -> list[str]:
    """Cases for a teacher to label.

    Raises:
        KneeformerError: there are none, or too few labelled subjects.
    """
    dataset = _images_there(folders, request)
    subject = dataset.description.subject
    if (there := len({subject(name) for name in labelled})) < FEWEST_LABELLED:
        raise KneeformerError(
            f"{request.fold_name} has {there} labelled subjects, and a teacher learns from at least "
            f"{FEWEST_LABELLED}; label more, or train with --no_unlabelled"
        )
    taken = set(labelled)
    left_out = [name for name in split["train"] if name not in taken]
    others = _without(_held_out(dataset, split), dataset, dataset.unlabelled_cases())
    names = [*left_out, *(case.name for case in others)]
    if not names:
        raise KneeformerError(
            f"{dataset.folder / 'imagesUn'}: holds no images that a teacher could label; put some there, or "
            f"train with --no_unlabelled"
        )
    return names


def _images_there(folders: Folders, request: Request) -> Dataset:
    dataset = raw_dataset(folders, request.dataset)
    if dataset is None:
        raise KneeformerError(
            f"{folders.raw / request.dataset}: not there; {request.configuration} uses images without "
            f"labels, which imagesUn and imagesTs define: restore the raw data"
        )
    return dataset


def _held_out(dataset: Dataset, split: Split) -> set[str]:
    """Subjects of validation and test cases."""
    tests = [c.name for c in list_cases(dataset.folder / "imagesTs", dataset.description)]
    learnt = set(split["train"])  # in the fold "all", validation cases train as well
    return {dataset.description.subject(c) for c in (*split["val"], *tests) if c not in learnt}


def _without(held_out: set[str], dataset: Dataset, cases: list[Case]) -> list[Case]:
    return [c for c in cases if dataset.description.subject(c.name) not in held_out]


def refuse_more_subjects(folders: Folders, request: Request) -> None:
    """Raises KneeformerError: the fold has fewer labelled training subjects than requested."""
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


def _borrowed(
    folders: Folders, request: Request, plan: Plan, held_out: set[str], watch: Progress
) -> list[Path]:
    """All images of the other dataset but those of subjects held out here, prepared by this one's plan."""
    other = Dataset.open(folders.raw / str(request.pretrain_from))
    _compare_channels(other, plan)
    every = [*other.training_cases(), *other.unlabelled_cases()]
    cases = [replace(case, label=None) for case in _without(held_out, other, every)]
    configuration = plan.configuration(request.configuration)
    name = f"{configuration.preprocessing.folder}__{other.name}"
    folder = folders.preprocessed / request.dataset / name
    preprocess_cases(cases, other, configuration, folder, default_processes(), watch, verify=False)
    return [folder / c.name for c in cases]


def _compare_channels(other: Dataset, plan: Plan) -> None:
    """Warn where channels of a dataset to pre-train on have other names than those of the plan.

    Raises:
        KneeformerError: they are of another number, or the same in another order.
    """
    there, here, name = other.description.channels, plan.dataset.channel_names, plan.dataset.name
    if len(there) != len(here):
        raise KneeformerError(
            f"{other.folder}: {len(there)} channels, and {name} has {len(here)}; --pretrain_from needs a "
            f"dataset of the same channels"
        )
    if there == here:
        return
    names = f"{other.folder}: its channels are {', '.join(there)}, those of {name} {', '.join(here)}"
    if sorted(there) == sorted(here):
        raise KneeformerError(f"{names}; number its channels in the same order")
    logging.getLogger(__name__).warning("%s: its images are normalised as these", names)


def _require_prepared(
    folders: Folders, request: Request, plan: Plan, names: set[str], unlabelled: set[str]
) -> None:
    configuration = plan.configuration(request.configuration)
    folder = folders.preprocessed / request.dataset / configuration.preprocessing.folder
    dataset = raw_dataset(folders, request.dataset)
    if dataset is not None:
        refuse_another_description(plan, dataset)
    wanted = _wanted(dataset, plan, request, names)
    others = [replace(case, labelled=None) for case in _wanted(dataset, plan, request, unlabelled)]
    stale = stale_cases(folder, [*wanted, *others])
    if stale:
        raise KneeformerError(
            f"{folder}: {len(stale)} of {len(wanted) + len(others)} cases are outdated or damaged:\n"
            f"{listed(stale)}\n"
            f"{_remedy(folders, request, plan)}"
        )


def _wanted(dataset: Dataset | None, plan: Plan, request: Request, names: set[str]) -> list[Wanted]:
    """The cases as they should be prepared, by the plan and by the raw files if these exist."""
    configuration = plan.configuration(request.configuration)
    settings = configuration.preprocessing
    labelled = task_named(configuration.task).stores_labels
    files = {}
    if dataset is not None:
        there = (*dataset.training_cases(), *dataset.unlabelled_cases())
        files = {case.name: files_digest(case) for case in there}
    planned = settings_digest(settings, plan.dataset.labels)
    return [
        Wanted(name, Origin(settings=planned, files=files.get(name, GONE)), labelled)
        for name in sorted(names)
    ]


def _remedy(folders: Folders, request: Request, plan: Plan) -> str:
    """Advice on how to prepare the cases for `plan`, which may be that of a training to resume."""
    file = folders.plan_file(request.dataset, request.plans)
    command = shlex.join(
        ("kf_preprocess", "-d", request.dataset, "-c", request.configuration, "-p", request.plans)
    )
    shared = read_plan(file).configurations.get(request.configuration)
    if shared is not None and shared.preprocessing != plan.configuration(request.configuration).preprocessing:
        return (
            f"{file} prepares cases differently from this training: set preprocessing of "
            f"{request.configuration} there to that of this training, then type\n    {command}\n"
            f"or train with the file as it is: {request.command('--overwrite')}"
        )
    return f"prepare them again with\n    {command}"
