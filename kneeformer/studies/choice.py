"""The choice of a model: the best configuration, or a significantly better ensemble, and post-processing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import output_ending
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.plans import read_fold_plan
from kneeformer.progress import Progress
from kneeformer.studies.largest_components import Kept, helpful_components
from kneeformer.studies.ranking import rank
from kneeformer.tasks.evaluation import LeadingScore

Folds = Sequence[tuple[str, list[str]]]  # name and validation cases of each


@dataclass(frozen=True)
class Choice:
    """The model to predict with.

    Attributes:
        scores: of all that was compared, by name, including ensembles.
        members: the configuration, or the two of an ensemble.
        post_processing: structures of which only the largest components are kept.
    """

    scores: Mapping[str, ScoreTable]
    members: tuple[str, ...]
    post_processing: tuple[Kept, ...] = ()


def best_of(scores: Mapping[str, ScoreTable], leading: LeadingScore) -> Choice:
    """Choose the best configuration by its scores alone."""
    return Choice(scores, (rank(scores, leading)[0].configuration,))


def choose(
    scores: Mapping[str, ScoreTable],
    leading: LeadingScore,
    models: Mapping[str, Path],
    folds: Folds,
    dataset: Dataset,
    home: Path,
    watch: Progress,
) -> Choice:
    """Compare configurations that predict label maps with ensembles of two, and post-process the choice.

    An ensemble takes twice the time. It is chosen only where the paired interval of its difference to the
    best configuration excludes 0.

    Args:
        scores: of the configurations, on the validation cases of the folds.
        models: their folders.
        home: folder for the label maps of ensembles.
    """
    alone = best_of(scores, leading)
    (best,) = alone.members
    found = alone
    if len(models) > 1:
        from kneeformer.studies.ensembles import name_of, validate_pairs

        pairs = validate_pairs(models, folds, dataset, home, watch)
        compared = {**scores, **{name_of(pair): table for pair, table in pairs.items()}}
        better = [p for p, table in pairs.items() if _is_better(table, scores[best], leading)]
        order = [row.configuration for row in rank(compared, leading)]
        better.sort(key=lambda pair: order.index(name_of(pair)))
        found = Choice(compared, better[0] if better else alone.members)
    folder_of = {fold: models[best] / fold / "validation" for fold, _ in folds}
    if len(found.members) > 1:
        folder_of = dict.fromkeys(folder_of, home / name_of(found.members))
    ending = output_ending(read_fold_plan(models[found.members[0]] / folds[0][0]).dataset.file_ending)
    predictions = {case: folder_of[fold] / f"{case}{ending}" for fold, cases in folds for case in cases}
    return Choice(found.scores, found.members, helpful_components(dataset, predictions, watch))


def _is_better(table: ScoreTable, best: ScoreTable, leading: LeadingScore) -> bool:
    first, second = rank({"best": best, "other": table}, leading)
    assert second.difference is not None
    return first.configuration == "other" and second.difference.significant
