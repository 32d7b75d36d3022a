"""Comparison of all bone completions of a dataset, on the same cases and hidden regions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kneeformer.config import Configuration
from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.engine.loop import ProgressEvent
from kneeformer.errors import KneeformerError
from kneeformer.metrics.comparison import ComparedScore, means, paired
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.shape_completion import (
    BOUNDARY_DICE,
    COMPOSITE,
    D_SSIM,
    HIDDEN,
    PSNR,
    RMSD,
    RMSE,
    WINDOWS,
)
from kneeformer.metrics.surface_distance import ASSD, HD95
from kneeformer.paths import Folders
from kneeformer.plans import read_dataset_plan
from kneeformer.progress import Progress
from kneeformer.reporting.comparison_tables import comparison_csv, means_table, paired_table
from kneeformer.studies.existing_training import ExistingTraining
from kneeformer.studies.prepared_scores import score_prepared_cases
from kneeformer.studies.validated_fold import ValidatedFold, label_maps, refuse_other_masks
from kneeformer.tasks.registry import evaluation_of, registered
from kneeformer.workflows.raw_data import dataset_splits, raw_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.training_cases import split_of

BASELINES = ("3d_prototype", "3d_nearest", "3d_mirrored")  # that a prior should beat

_HIDDEN = (RMSD, DICE, BOUNDARY_DICE, HD95, ASSD, D_SSIM[11], PSNR, RMSE)
_COLUMNS = (*((HIDDEN, metric) for metric in _HIDDEN), (COMPOSITE, RMSD), (COMPOSITE, PSNR))
_WHOLE_BONE = (*(D_SSIM[window] for window in WINDOWS), PSNR, RMSE, RMSD)

_FOOTNOTE = """\
Means over {subjects}, with 95 % intervals (bootstrap over subjects), of the hidden region, which is the same
for all configurations. The figures of the composite (completed inside the region, reference outside) are
optimistic: even the prototype alone has a high PSNR. When you show this table, state whether shapes and
images are those of patients or synthetic.
"""


@dataclass(frozen=True)
class Completions:
    """Configurations and folds to compare.

    Attributes:
        configurations: None takes all of the plan that complete bones.
        folds: None takes all that the dataset's splits have.
    """

    dataset: str
    configurations: tuple[str, ...] | None = None
    folds: tuple[int, ...] | None = None
    plans: str = "kfPlans"
    device: str | None = None


def compare_completions(
    folders: Folders, wanted: Completions, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> tuple[str, Path]:
    """Train what is not trained yet, and compare all; write table.csv and table.md.

    Existing trainings are used as they are. Whole bones are scored as well, as in the tibia paper, in
    whole_bones.csv and whole_bones.md.

    Returns:
        Text of table.md, and the folder PLANS__completion_table in the dataset's results.

    Raises:
        KneeformerError: the plan lacks configurations that complete bones, or a fold; a fold was validated on
            other cases or regions than the others; files are missing.
    """
    home = folders.model(wanted.dataset, "completion_table", wanted.plans)
    require_writable(home)
    configurations = _completing(folders, wanted)
    trainings = {name: _trainings(folders, wanted, name) for name in configurations}
    splits = {t.request.fold: split_of(folders, t.request)["val"] for t in _all(trainings)}
    found: dict[ExistingTraining, ValidatedFold] = {}
    labels = label_maps(raw_dataset(folders, wanted.dataset))
    for training in sorted(_all(trainings), key=lambda t: not t.validated):  # faults first
        if not training.validated:
            training.train(watch_training, watch)
        fold = ValidatedFold.read(folders, training.request, labels)
        refuse_other_masks(fold, splits[training.request.fold], found.values())
        found[training] = fold
    scores = {name: ScoreTable.joined(found[run].scores for run in runs) for name, runs in trainings.items()}
    leading = evaluation_of(next(iter(configurations.values())).task).leading
    compared = [*means(scores), *paired(scores, leading.metric, leading.region, BASELINES)]
    report = completion_markdown(compared)
    write_text(home / "table.csv", comparison_csv(compared))
    write_text(home / "table.md", report)
    alone = {n: runs for n, runs in trainings.items() if not configurations[n].needs_other_side}
    _compare_whole_bones(folders, wanted, configurations, alone, home, watch)
    return report, home


def completion_markdown(compared: Sequence[ComparedScore]) -> str:
    """The table in Markdown; the hidden region comes first."""
    names = dict.fromkeys(row.configuration for row in compared)
    tables = [means_table(compared, _COLUMNS, ["configuration"], {name: [name] for name in names})]
    tables += [paired_table(compared, to) for to in dict.fromkeys(row.to for row in compared if row.to)]
    return "\n\n".join([*tables, _FOOTNOTE.format(subjects=_subjects(compared))])


def whole_bone_markdown(compared: Sequence[ComparedScore], registrations: Mapping[str, str]) -> str:
    """A table for each masking, with one block of rows per registration.

    Args:
        registrations: configuration -> its registration.
    """
    names = list(dict.fromkeys(row.configuration for row in compared))
    blocks = list(dict.fromkeys(registrations[name] for name in names))
    leading = {n: [registrations[n], n] for n in sorted(names, key=lambda n: blocks.index(registrations[n]))}
    tables = []
    for region in dict.fromkeys(row.region for row in compared):
        columns = [(region, metric) for metric in _WHOLE_BONE]
        tables.append(means_table(compared, columns, ["registration", f"model, {region}"], leading))
    note = f"Whole volumes, raw; means over {_subjects(compared)} with 95 % intervals.\n"
    return "\n\n".join([*tables, note])


def _subjects(compared: Sequence[ComparedScore]) -> str:
    most = max((row.subjects for row in compared), default=0)
    return "1 subject" if most == 1 else f"{most} subjects"


def _compare_whole_bones(
    folders: Folders,
    wanted: Completions,
    configurations: Mapping[str, Configuration],
    trainings: Mapping[str, list[ExistingTraining]],
    home: Path,
    watch: Progress,
) -> None:
    subject = Dataset.open(folders.raw / wanted.dataset).description.subject
    scores: dict[str, ScoreTable] = {}
    for name, runs in trainings.items():
        bones = folders.preprocessed / wanted.dataset / configurations[name].preprocessing.folder
        tables = []
        for run in runs:
            subjects = {case: subject(case) for case in split_of(folders, run.request)["val"]}
            tables.append(score_prepared_cases(run.folder, bones, subjects, wanted.device, watch))
        scores[name] = ScoreTable.joined(tables)
    compared = means(scores)
    registrations = {name: c.previous_stage or "" for name, c in configurations.items()}
    write_text(home / "whole_bones.csv", comparison_csv(compared))
    write_text(home / "whole_bones.md", whole_bone_markdown(compared, registrations))


def _completing(folders: Folders, wanted: Completions) -> dict[str, Configuration]:
    """The configurations to compare, in the order of the plan or of the request."""
    plan = read_dataset_plan(folders, wanted.dataset, wanted.plans)
    there = {
        name: configuration
        for name, configuration in plan.configurations.items()
        if configuration.requires_mask and registered(configuration.task).evaluation is not None
    }
    if not there:
        raise KneeformerError(
            f"{wanted.plans} of {wanted.dataset} completes no bones: it has "
            f'{", ".join(plan.configurations)}; a dataset of completion has "task": "completion" in its '
            f"dataset.json when it is planned"
        )
    names = wanted.configurations or tuple(there)
    if others := [name for name in names if name not in there]:
        raise KneeformerError(
            f"{', '.join(others)} completes no bones; choose with -c from {', '.join(there)}"
        )
    return {name: there[name] for name in names}


def _trainings(folders: Folders, wanted: Completions, name: str) -> list[ExistingTraining]:
    splits = dataset_splits(folders, wanted.dataset)
    folds = range(len(splits)) if wanted.folds is None else wanted.folds
    requests = [Request(wanted.dataset, name, fold, wanted.plans, device=wanted.device) for fold in folds]
    return [ExistingTraining(folders, request) for request in requests]


def _all(trainings: dict[str, list[ExistingTraining]]) -> list[ExistingTraining]:
    return [training for runs in trainings.values() for training in runs]
