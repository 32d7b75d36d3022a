"""Ensembles of two configurations: the mean of their probabilities, validated like a configuration."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from kneeformer.data.dataset import Case, Dataset
from kneeformer.data.images import output_ending
from kneeformer.data.processes import default_processes
from kneeformer.data.segmentation_file import write_label_map
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.summary import read_summary
from kneeformer.plans import read_fold_plan
from kneeformer.progress import Progress
from kneeformer.workflows.chosen_predictor import mean_probabilities, most_probable, refuse_mixed_outputs
from kneeformer.workflows.evaluate import evaluate_cases
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.scan_files import read_scan

Pair = tuple[str, str]


def validate_pairs(
    models: Mapping[str, Path],
    folds: Sequence[tuple[str, list[str]]],
    dataset: Dataset,
    home: Path,
    watch: Progress,
) -> dict[Pair, ScoreTable]:
    """Score each pair of configurations on the validation cases, and keep their label maps.

    A pair that was validated after both of its members is not predicted again.

    Args:
        models: folders of the trained configurations, by name.
        folds: name of each fold, and its validation cases.
        home: folder of the pairs' folders, each with label maps, summary.json and summary.csv.

    Raises:
        KneeformerError: a case cannot be read, the plans of folds differ, or as `refuse_mixed_outputs`.
    """
    wanted = {case for _, names in folds for case in names}
    cases = {case.name: case for case in dataset.training_cases() if case.name in wanted}
    pairs = [pair for pair in combinations(models, 2) if not _is_validated(pair, models, folds, home)]
    predicted = 0
    for fold, names in folds if pairs else ():
        predictors = {name: Predictor.from_model_folder(folder, (fold,)) for name, folder in models.items()}
        refuse_mixed_outputs([*predictors.values()])
        for name in names:
            _predict(cases[name], predictors, pairs, home)
            predicted += 1
            watch("Ensembles", predicted, len(cases))
    for pair in pairs:
        plan = read_fold_plan(models[pair[0]] / folds[0][0])
        (configuration,) = plan.configurations.values()
        folder, description = home / name_of(pair), dataset.description.predicted_as(plan.dataset.file_ending)
        evaluate_cases(cases.values(), configuration.task, folder, description, default_processes(), watch)
    return {pair: read_summary(home / name_of(pair)).table for pair in combinations(models, 2)}


def name_of(pair: Sequence[str]) -> str:
    """Name of a pair, such as "3d_vit+3d_vit_linear"."""
    return "+".join(pair)


def _is_validated(
    pair: Pair, models: Mapping[str, Path], folds: Sequence[tuple[str, list[str]]], home: Path
) -> bool:
    summary = home / name_of(pair) / "summary.json"
    if not summary.is_file():
        return False
    alone = [models[name] / fold / "validation" / "summary.json" for name in pair for fold, _ in folds]
    scored = set(read_summary(summary.parent).table.cases)
    last = max(file.stat().st_mtime for file in alone)
    return summary.stat().st_mtime > last and scored == {case for _, names in folds for case in names}


def _predict(case: Case, predictors: dict[str, Predictor], pairs: Sequence[Pair], home: Path) -> None:
    """Write the label map of each pair of one case."""
    scan = read_scan(case)
    found = {name: p.predict_scan(scan, True).volumes["_probabilities"] for name, p in predictors.items()}
    for pair in pairs:
        dataset = predictors[pair[0]].plan.dataset
        labels = most_probable(mean_probabilities([found[name] for name in pair]), dataset.scheme)
        file = home / name_of(pair) / f"{case.name}{output_ending(dataset.file_ending)}"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_label_map(file, labels, scan.grid, dataset.scheme)
