"""Compare predictions with references: per case, per structure, in all, with confidence intervals."""

import logging
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.check_labels import meaning_problems
from kneeformer.data.dataset import Case
from kneeformer.data.description import DatasetDescription
from kneeformer.data.disk import require_writable
from kneeformer.data.image_folder import image_folder, lines_of
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import run_each
from kneeformer.errors import KneeformerError, named
from kneeformer.labels import COMPLETE, LabelScheme
from kneeformer.metrics.scores import CaseMetrics, score_case
from kneeformer.metrics.summary import Summary, summarise, write_summary
from kneeformer.progress import Progress


@dataclass(frozen=True)
class Pair:
    """A reference file and the prediction to compare with it.

    Attributes:
        mask: of a completion: bone, all structures as one, is compared where the mask is 2 alone.
    """

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
    watch: Progress,
) -> Summary:
    """Score every reference CASE.ending against the prediction of that name; writes summary.json and .csv.

    Files of every format are compared, whatever the dataset has. Those that are ignored are logged, and
    predictions without a reference.

    Raises:
        KneeformerError: `output` cannot be written to; or no references, predictions missing, grids that
            differ, unreadable files, two of one name, or label maps with values that dataset.json does not
            declare or segments that it numbers otherwise: all of them in one list.
    """
    true, predicted = image_folder(references), image_folder(predictions)
    if left := lines_of(true.ignored | predicted.ignored):
        _log().warning("%d files are ignored:\n%s", len(left), "\n".join(f"  {line}" for line in left))
    if not true.files:
        raise KneeformerError(f"{references}: no *{description.file_ending} files to compare with")
    duplicates = [
        *true.duplicates.values(),
        *(line for name, line in predicted.duplicates.items() if name in true.files),
    ]
    if duplicates:
        raise KneeformerError(
            "nothing is compared:" + "".join(f"\n  {line}" for line in dict.fromkeys(duplicates))
        )
    if surplus := sorted(path.name for name, path in predicted.files.items() if name not in true.files):
        _log().warning("%s: no reference for %s; not compared", predictions, _shortened(surplus))
    cases = [Case(name, (), file) for name, file in true.files.items()]
    found = {name: predicted.file(name, description.file_ending) for name in true.files}
    return _evaluate(cases, found, description, output, processes, watch)


def evaluate_cases(
    cases: list[Case],
    predictions: Path,
    description: DatasetDescription,
    output: Path,
    processes: int,
    watch: Progress,
    masks: Path | None = None,
) -> Summary:
    """As `evaluate_folders`, of cases whose label is the reference; with masks, of bone in their regions."""
    found = {c.name: predictions / f"{c.name}{description.file_ending}" for c in cases}
    return _evaluate(cases, found, description, output, processes, watch, masks)


def _evaluate(
    cases: list[Case],
    predictions: dict[str, Path],
    description: DatasetDescription,
    output: Path,
    processes: int,
    watch: Progress,
    masks: Path | None = None,
) -> Summary:
    require_writable(output)
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
    true, found, spacing = reference.array, prediction.array, reference.geometry.spacing
    if pair.mask is not None:
        counted = (read_label_map(pair.mask).array == COMPLETE) & pair.scheme.scored(true)
        return score_case(counted & (true > 0), counted & (found > 0), spacing, pair.scheme.merged())
    problems = [
        line
        for path, labels in ((pair.reference, true), (pair.prediction, found))
        for line in meaning_problems(path, labels, pair.scheme)
    ]
    if problems:
        raise KneeformerError("\n  ".join(problems))
    return score_case(true, found, spacing, pair.scheme)


def _shortened(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _log() -> logging.Logger:
    return logging.getLogger(__name__)
