"""The cases that are given to a prediction: their files, masks by which they are asked, and their faults."""

import logging
from dataclasses import replace
from pathlib import Path

from kneeformer.data.check_mask import case_and_mask_problems
from kneeformer.data.dataset import Case, DatasetDescription, list_cases, side_in_name, with_other_sides
from kneeformer.data.images import file_ending, write_image
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import run_each
from kneeformer.errors import KneeformerError
from kneeformer.plan import Configuration, DatasetSettings
from kneeformer.stages.fingerprint import Watch, default_processes
from kneeformer.tasks import predictive


def input_cases(source: Path, dataset: DatasetSettings) -> list[Case]:
    """The cases of a folder, or of one file. Raises KneeformerError: there are none."""
    if source.is_file():
        if len(dataset.channel_names) > 1:
            raise KneeformerError(
                f"{source}: the model takes {len(dataset.channel_names)} channels; give a folder"
            )
        name = source.name.removesuffix(file_ending(source))
        name = name.removesuffix("_0000")
        return [Case(name, (source,), side=side_in_name(name))]
    cases = list_cases(source, _description(dataset))
    if not cases:
        raise KneeformerError(f"{source}: no images called CASE_0000{dataset.file_ending} here")
    return cases


def with_masks(cases: list[Case], masks: Path | None, task: str, ending: str) -> list[Case]:
    """The cases with their masks as labels. Raises KneeformerError: masks are needed, or not needed."""
    if predictive(task).asked_by_masks != (masks is not None):
        need = "takes no masks: leave -m away" if masks else "is asked by masks: give their folder with -m"
        raise KneeformerError(f"task {task!r} {need}")
    return cases if masks is None else [replace(c, label=masks / f"{c.name}{ending}") for c in cases]


def beside_other_sides(
    cases: list[Case], folder: Path | None, configuration: Configuration, dataset: DatasetSettings
) -> list[Case]:
    """The cases with those of the same persons' other sides, where the folder has them.

    Raises:
        KneeformerError: other sides are needed, or not needed.
    """
    if configuration.needs_other_side != (folder is not None):
        need = (
            "needs no other sides: leave --other_side away"
            if folder
            else "completes a bone by that of the same person's other side: give the folder of those scans, "
            "and their bones as label maps, with --other_side"
        )
        raise KneeformerError(f"this configuration {need}")
    if folder is None:
        return cases
    description = _description(dataset)
    there = [
        replace(c, label=folder / f"{c.name}{dataset.file_ending}") for c in list_cases(folder, description)
    ]
    return with_other_sides(cases, there, description)


def ask(case: Case, task: str, description: DatasetDescription, masks: Path, number: int) -> Case:
    """A validation case as the task is asked: its label the mask, written in a folder; or no label at all."""
    if case.label is None:
        return case
    reference = read_label_map(case.label)
    mask = predictive(task).question(reference.array, reference.geometry, description.scheme, number)
    if mask is None:
        return replace(case, label=None)
    file = masks / f"{case.name}{description.file_ending}"
    write_image(file, mask, reference.geometry)
    return replace(case, label=file)


def input_problems(
    cases: list[Case],
    dataset: DatasetSettings,
    unmarked: str | None,
    other_sides: Path | None,
    watch: Watch,
) -> list[list[str]]:
    """What is wrong with the files of each case, opened once in a child process; told at once, in one list.

    Args:
        unmarked: what to say of a mask that marks no bone to keep; None where the bone is found without it.
        other_sides: the folder in which each case's other side must have been found; None where none must.
    """
    description = _description(dataset)
    outcomes = run_each(
        case_and_mask_problems,
        [(c, description, unmarked) for c in cases],
        [str(c.images[0]) for c in cases],
        min(default_processes(), 4),
        lambda done: watch("Checking inputs", done, len(cases)),
    )
    problems = [[str(o)] if isinstance(o, Exception) else o for o in outcomes]
    if other_sides is not None:
        lone = [[] if c.other_side else [_no_other_side(c, other_sides)] for c in cases]
        problems = [[*found, *missing] for found, missing in zip(problems, lone, strict=True)]
    if faults := [f"  {line}" for lines in problems for line in lines]:
        _log().warning("%d problems; cases without any are predicted:\n%s", len(faults), "\n".join(faults))
    return problems


def _no_other_side(case: Case, folder: Path) -> str:
    told = "its name tells no side" if case.side is None else f"its name says {case.side}"
    return (
        f"{case.images[0]}: no other side of the same person in {folder}; {told}, and names tell both: 12_L "
        f"and 12_R are of one person"
    )


def _description(dataset: DatasetSettings) -> DatasetDescription:
    """What input files must be."""
    return DatasetDescription(
        channel_names={str(i): n for i, n in enumerate(dataset.channel_names)},
        labels=dataset.labels,
        regions_class_order=dataset.regions_class_order,
        file_ending=dataset.file_ending,
    )


def _log() -> logging.Logger:
    return logging.getLogger(__name__)
