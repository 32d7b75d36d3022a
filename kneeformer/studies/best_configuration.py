"""The best trained configuration of a dataset, or ensemble of two, on the same validation cases."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from shlex import quote

from kneeformer.config import Configuration
from kneeformer.data.disk import require_writable
from kneeformer.data.splits import Split, fold_cases
from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.paths import Folders, fold_name
from kneeformer.plans import read_dataset_plan, read_fold_plan
from kneeformer.progress import Progress
from kneeformer.studies.choice import best_of, choose
from kneeformer.studies.chosen_model import BestConfiguration, home_of, write_best
from kneeformer.studies.comparable import Comparable, command_to_validate, validated_folds
from kneeformer.studies.ranking import rank, ranking_table
from kneeformer.studies.validated_fold import ValidatedFold, label_maps, refuse_other_masks
from kneeformer.tasks.registry import evaluation_of, registered
from kneeformer.workflows.raw_data import dataset_splits, raw_dataset
from kneeformer.workflows.request import Request


@dataclass(frozen=True)
class Candidates:
    """Configurations and folds to compare.

    Attributes:
        configurations: None takes all of each plan that predict cases.
        folds: None takes those that most configurations have in common.
        plans: one or several; with several, a configuration is called PLANS__CONFIGURATION, as its folder.
        ranking_only: compare existing scores, without ensembles and post-processing.
    """

    dataset: str
    configurations: tuple[str, ...] | None = None
    folds: tuple[int, ...] | None = None
    plans: tuple[str, ...] = ("kfPlans",)
    ranking_only: bool = False

    def called(self, plans: str, configuration: str) -> str:
        return configuration if len(self.plans) == 1 else f"{plans}__{configuration}"


@dataclass(frozen=True)
class Candidate:
    """A configuration of a plan."""

    dataset: str
    plans: str
    name: str
    settings: Configuration

    def folder(self, folders: Folders) -> Path:
        return folders.model(self.dataset, self.name, self.plans)

    def request(self, fold: int) -> Request:
        return Request(self.dataset, self.name, fold, self.plans)


def find_best_configuration(
    folders: Folders, wanted: Candidates, watch: Progress = lambda *_: None
) -> tuple[str, Path]:
    """Compare the configurations that are trained and validated; train nothing.

    Those that predict label maps are also compared as ensembles and with post-processing, if the dataset is
    in kf_raw.

    Returns:
        A report, and the folder best_configuration in the dataset's results, which holds
        best_configuration.json, table.md and prediction_commands.txt.

    Raises:
        KneeformerError: nothing can be compared (the message has the commands to train it); a fold was
            validated on other cases or regions, or trained by another plan, than the others.
    """
    require_writable(home_of(folders, wanted.dataset))
    planned = _planned(folders, wanted)
    splits = _splits(folders, wanted)
    chosen = Comparable.choose(_validated(folders, wanted, planned), wanted.folds)
    lacking = [planned[name].request(fold) for name, fold in chosen.lacking(wanted.folds)]
    missing = [command_to_validate(folders, request) for request in lacking]
    if not chosen.configurations:
        raise KneeformerError(_nothing_to_compare(wanted, missing))
    dataset = raw_dataset(folders, wanted.dataset)
    scores = _scores(folders, planned, chosen, splits, label_maps(dataset))
    leading = evaluation_of(planned[chosen.configurations[0]].settings.task).leading
    if wanted.ranking_only or dataset is None or leading.metric != DICE:
        choice = best_of(scores, leading)
    else:
        models = {name: planned[name].folder(folders) for name in chosen.configurations}
        folds = [(fold_name(k), fold_cases(splits, fold_name(k))["val"]) for k in chosen.folds]
        choice = choose(scores, leading, models, folds, dataset, home_of(folders, wanted.dataset), watch)
    ranking = rank(choice.scores, leading)
    members = {name: chosen.validated[name] for name in choice.members}
    found = BestConfiguration(
        dataset=wanted.dataset,
        plans=wanted.plans,
        score=leading.title,
        lower_is_better=leading.lower_is_better,
        folds=chosen.folds,
        cases=len(scores[choice.members[0]].cases),
        ranking=tuple(ranking),
        chosen=members,
        post_processing=choice.post_processing,
        left_out=tuple(chosen.left_out()),
        to_compare_more=tuple(missing),
        prediction=_prediction(
            [planned[name] for name in choice.members], members, bool(choice.post_processing)
        ),
    )
    report = found.report(ranking_table(ranking, leading, found.folds, found.cases))
    return report, write_best(folders, found, report)


def _planned(folders: Folders, wanted: Candidates) -> dict[str, Candidate]:
    """The candidates by name, plan by plan. Raises KneeformerError: they are of different tasks."""
    planned = {
        wanted.called(plans, name): Candidate(wanted.dataset, plans, name, configuration)
        for plans in wanted.plans
        for name, configuration in _planned_in(folders, wanted, plans).items()
    }
    if len({c.settings.task for c in planned.values()}) > 1:
        tasks = ", ".join(f"{called} ({c.settings.task})" for called, c in planned.items())
        raise KneeformerError(
            f"{tasks}: different tasks have different scores; compare those of one, with -c"
        )
    return planned


def _planned_in(folders: Folders, wanted: Candidates, plans: str) -> dict[str, Configuration]:
    """The candidates of one plan, in its order or in that of the request.

    By default these are of one task: a plan of completions also has a segmentation, whose Dice cannot be
    compared with their RMSD.
    """
    plan = read_dataset_plan(folders, wanted.dataset, plans)
    there = {n: c for n, c in plan.configurations.items() if registered(c.task).evaluation is not None}
    task = next((c.task for c in there.values()), None)
    names = wanted.configurations or tuple(n for n, c in there.items() if c.task == task)
    if others := [name for name in names if name not in there] or ([] if there else [*plan.configurations]):
        raise KneeformerError(
            f"{plans} of {wanted.dataset}: {', '.join(others)} cannot be compared; those that predict "
            f"cases can: {', '.join(there) or 'none is planned'}"
        )
    return {name: there[name] for name in names}


def _splits(folders: Folders, wanted: Candidates) -> list[Split]:
    """The splits. Raises KneeformerError: they are wrong, or lack a requested fold."""
    splits = dataset_splits(folders, wanted.dataset)
    for fold in wanted.folds or ():
        fold_cases(splits, fold_name(fold))
    return splits


def _validated(
    folders: Folders, wanted: Candidates, planned: Mapping[str, Candidate]
) -> dict[str, tuple[int, ...]]:
    """Validated folds of each candidate, among those requested."""
    found = {n: validated_folds(folders, wanted.dataset, c.name, c.plans) for n, c in planned.items()}
    requested = wanted.folds
    return {n: tuple(k for k in folds if requested is None or k in requested) for n, folds in found.items()}


def _nothing_to_compare(wanted: Candidates, missing: list[str]) -> str:
    where = "" if wanted.folds is None else f" on all of folds {' '.join(map(str, wanted.folds))}"
    lines = "\n".join(f"  {command}" for command in missing)
    return f"{wanted.dataset}: no configuration is trained and validated{where}; first type\n{lines}"


def _scores(
    folders: Folders,
    planned: Mapping[str, Candidate],
    chosen: Comparable,
    splits: list[Split],
    labels: Mapping[str, Path],
) -> dict[str, ScoreTable]:
    """The scores of each configuration on the validation cases of the compared folds."""
    folds: dict[str, list[ValidatedFold]] = {name: [] for name in chosen.configurations}
    for name, own in folds.items():
        _refuse_mixed_plans(folders, [planned[name].request(k) for k in chosen.validated[name]])
        for k in chosen.folds:
            fold = ValidatedFold.read(folders, planned[name].request(k), labels)
            cases = fold_cases(splits, fold.request.fold_name)["val"]
            refuse_other_masks(fold, cases, chain(*folds.values()))
            own.append(fold)
    return {name: ScoreTable.joined(fold.scores for fold in own) for name, own in folds.items()}


def _refuse_mixed_plans(folders: Folders, requests: list[Request]) -> None:
    """Raises KneeformerError: kf_predict could not average the folds, which were trained by other plans."""
    first, *others = requests
    key = read_fold_plan(first.folder(folders)).compatibility_key()
    for other in others:
        if read_fold_plan(other.folder(folders)).compatibility_key() != key:
            raise KneeformerError(
                f"{other.folder(folders)}: trained by another plan than {first.folder(folders)}; choose "
                f"folds with -f, or {other.command('--overwrite')}"
            )


def _prediction(members: list[Candidate], chosen: dict[str, tuple[int, ...]], processed: bool) -> str:
    """The command that predicts the dataset's test cases with all validated folds of the chosen models."""
    best, *more = members
    dataset, folds = quote(best.dataset), next(iter(chosen.values()))
    raw, results = f'"$kf_raw"/{dataset}', f'"$kf_results"/{dataset}'
    masks = f" -m {raw}/masksTs" if best.settings.requires_mask else ""
    others = f" --other_side {raw}/otherSidesTs" if best.settings.needs_other_side else ""
    model = f"-p {quote(best.plans)} -c {quote(best.name)} -f {' '.join(map(str, folds))}"
    return (
        f"kf_predict -i {raw}/imagesTs{masks}{others} -o {results}/best_configuration/predictions "
        f"-d {dataset} {'--best' if more or processed else model}"
    )
