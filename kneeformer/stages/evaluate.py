"""Compare predictions with references: per case, per structure, in all, with confidence intervals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case, DatasetDescription
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import run_each
from kneeformer.errors import KneeformerError
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

    Raises:
        KneeformerError: no references, predictions missing, grids that differ, or unreadable files: all
            of them in one list.
    """
    files = sorted(references.glob(f"*{description.file_ending}"))
    if not files:
        raise KneeformerError(f"{references}: no *{description.file_ending} files to compare with")
    names = [f.name.removesuffix(description.file_ending) for f in files]
    cases = [Case(n, (), f) for n, f in zip(names, files, strict=True)]
    return evaluate_cases(cases, predictions, description, output, processes, watch)


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
    ending = description.file_ending
    pairs = [
        Pair(
            c.label,
            predictions / f"{c.name}{ending}",
            description.scheme,
            None if masks is None else masks / f"{c.name}{ending}",
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
    faults = [f"  {o}" for o in outcomes if isinstance(o, Exception)]
    if faults:
        raise KneeformerError(f"{predictions}: {len(faults)} cases cannot be compared:\n" + "\n".join(faults))
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
