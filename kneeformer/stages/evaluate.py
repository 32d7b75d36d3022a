"""Compare predictions with references: per case, per structure, in all, with confidence intervals."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case
from kneeformer.data.description import DatasetDescription
from kneeformer.data.image_folder import image_folder, lines_of
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import run_each
from kneeformer.errors import KneeformerError, named
from kneeformer.evaluation.scores import CaseMetrics, score_case
from kneeformer.evaluation.summary import Summary, summarise, write_summary
from kneeformer.labels import COMPLETE, LabelScheme
from kneeformer.stages.fingerprint import Watch


@dataclass(frozen=True)
class Pair:
    """A reference file and the prediction to compare with it; with a mask, where it is 2 alone."""

    reference: Path
    prediction: Path
    scheme: LabelScheme
    mask: Path | None = None


def evaluate_folders(
    references: Path,
    predictions: Path,
    description: DatasetDescription,
    output: Path,
    processes: int,
    watch: Watch,
) -> Summary:
    """Score every reference CASE.ending against the prediction of that name; writes summary.json and .csv.

    Files of every format are compared, whatever the dataset has. Those that are not taken are logged.

    Raises:
        KneeformerError: no references, predictions missing, grids that differ, unreadable files, or two
            of one name: all of them in one list.
    """
    true, predicted = image_folder(references), image_folder(predictions)
    if left := lines_of(true.not_taken | predicted.not_taken):
        _log().warning("%d files are not taken:\n%s", len(left), "\n".join(f"  {line}" for line in left))
    if not true.files:
        raise KneeformerError(f"{references}: no *{description.file_ending} files to compare with")
    twins = [*true.twins.values(), *(line for name, line in predicted.twins.items() if name in true.files)]
    if twins:
        raise KneeformerError(
            "nothing is compared:" + "".join(f"\n  {line}" for line in dict.fromkeys(twins))
        )
    cases = [Case(name, (), file) for name, file in true.files.items()]
    found = {name: predicted.file(name, description.file_ending) for name in true.files}
    return _evaluate(cases, found, description, output, processes, watch)


def evaluate_cases(
    cases: list[Case],
    predictions: Path,
    description: DatasetDescription,
    output: Path,
    processes: int,
    watch: Watch,
    masks: Path | None = None,
) -> Summary:
    """As `evaluate_folders`, for cases whose label is the reference; with masks, of their regions alone."""
    found = {c.name: predictions / f"{c.name}{description.file_ending}" for c in cases}
    return _evaluate(cases, found, description, output, processes, watch, masks)


def _evaluate(
    cases: list[Case],
    predictions: dict[str, Path],
    description: DatasetDescription,
    output: Path,
    processes: int,
    watch: Watch,
    masks: Path | None = None,
) -> Summary:
    pairs = [
        Pair(
            c.label,
            predictions[c.name],
            description.scheme,
            None if masks is None else masks / f"{c.name}{description.file_ending}",
        )
        for c in cases
        if c.label is not None
    ]
    outcomes = run_each(
        _score,
        pairs,
        [str(p.prediction) for p in pairs],
        processes,
        lambda done: watch("Comparing", done, len(pairs)),
    )
    faults = [
        f"  {named(p.prediction, o)}"
        for p, o in zip(pairs, outcomes, strict=True)
        if isinstance(o, Exception)
    ]
    if faults:
        raise KneeformerError(f"{len(faults)} cases cannot be compared:\n" + "\n".join(faults))
    scores = {c.name: o for c, o in zip(cases, outcomes, strict=True) if not isinstance(o, Exception)}
    summary = summarise(scores, {c.name: description.subject(c.name) for c in cases})
    write_summary(summary, output)
    return summary


def _score(pair: Pair) -> CaseMetrics:
    reference, prediction = read_label_map(pair.reference), read_label_map(pair.prediction)
    mismatch = reference.geometry.mismatch(prediction.geometry)
    if mismatch is not None:
        raise KneeformerError(f"{pair.prediction}: another grid than {pair.reference}: {mismatch}")
    if pair.mask is not None:
        asked = read_label_map(pair.mask).array == COMPLETE
        here, there = (np.where(asked, volume.array, 0) for volume in (reference, prediction))
        return score_case(here, there, reference.geometry.spacing, pair.scheme)
    return score_case(reference.array, prediction.array, reference.geometry.spacing, pair.scheme)


def _log() -> logging.Logger:
    return logging.getLogger(__name__)
