"""Compare predictions with references by the metrics of their task: per case and overall."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kneeformer.data.dataset import Case
from kneeformer.data.description import DatasetDescription
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.data.image_folder import image_folder, lines_of
from kneeformer.data.images import FILE_ENDINGS, READABLE_ENDINGS, output_ending
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import run_each
from kneeformer.errors import KneeformerError, first_few, named
from kneeformer.geometry.orientation import slice_plane
from kneeformer.metrics.score_table import Score, ScoreTable
from kneeformer.metrics.summary import Summary, summarise, write_summary
from kneeformer.progress import Progress
from kneeformer.reporting.score_tables import spreadsheet
from kneeformer.tasks.evaluation import Evaluation, PredictedCase
from kneeformer.tasks.registry import evaluation_of

_log = logging.getLogger(__name__)


def evaluate_folders(
    references: Path,
    predictions: Path,
    description: DatasetDescription,
    output: Path,
    processes: int,
    watch: Progress,
) -> Summary:
    """Score every reference CASE.ending against the prediction of that name; write summary.json and .csv.

    Files of all formats are compared, not only the dataset's. Ignored files and predictions without a
    reference are logged.

    Raises:
        KneeformerError: `output` cannot be written to; or no references, missing predictions, grids that
            differ, unreadable files, two files of one name, values that dataset.json does not declare or
            segments that it numbers otherwise: all in one list.
    """
    evaluation, ending = evaluation_of(description.task), output_ending(description.file_ending)
    known = READABLE_ENDINGS if evaluation.against_images else FILE_ENDINGS
    true, predicted = image_folder(references, known=known), image_folder(predictions)
    if left := lines_of(true.ignored | predicted.ignored):
        _log.warning("%d files are ignored:\n%s", len(left), "\n".join(f"  {line}" for line in left))
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
    references_of = _by_case(true.files) if evaluation.against_images else true.files
    if surplus := sorted(path.name for name, path in predicted.files.items() if name not in references_of):
        _log.warning("%s: no reference for %s; not compared", predictions, first_few(surplus, 10))
    general = description.without_cases()
    found = [
        PredictedCase(name, file, predicted.file(name, ending), general)
        for name, file in references_of.items()
    ]
    return _evaluate(found, description, evaluation, output, processes, watch)


def _by_case(files: Mapping[str, Path]) -> dict[str, Path]:
    """Images of one channel by the names of their cases, CASE or CASE_0000.

    Raises:
        KneeformerError: a case has both.
    """
    found: dict[str, Path] = {}
    for name, file in files.items():
        if (other := found.setdefault(name.removesuffix("_0000"), file)) != file:
            raise KneeformerError(f"{other}: {file.name} is of the same case; move one elsewhere")
    return found


def evaluate_cases(
    cases: Iterable[Case],
    task: str,
    predictions: Path,
    description: DatasetDescription,
    processes: int,
    watch: Progress,
) -> Summary:
    """As `evaluate_folders`, for validation cases; the summary goes into the folder of their predictions.

    Args:
        cases: with the masks of their predictions; their labels or, by task, their images are the references.
        task: name of the task that predicted them.
    """
    evaluation, ending = evaluation_of(task), output_ending(description.file_ending)
    general = description.without_cases()
    pairs = [(case, case.images[0] if evaluation.against_images else case.label) for case in cases]
    found = [
        PredictedCase(
            name=case.name,
            reference=reference,
            prediction=predictions / f"{case.name}{ending}",
            description=general,
            images=case.images,
            mask=case.mask,
        )
        for case, reference in pairs
        if reference is not None
    ]
    return _evaluate(found, description, evaluation, predictions, processes, watch)


def _evaluate(
    cases: list[PredictedCase],
    description: DatasetDescription,
    evaluation: Evaluation,
    output: Path,
    processes: int,
    watch: Progress,
) -> Summary:
    require_writable(output)
    outcomes = run_each(
        partial(_scored, evaluation),
        cases,
        [str(case.prediction) for case in cases],
        processes,
        lambda done: watch("Comparing", done, len(cases)),
    )
    faults = [
        f"  {named(case.prediction, o)}"
        for case, o in zip(cases, outcomes, strict=True)
        if isinstance(o, Exception)
    ]
    if faults:
        raise KneeformerError(f"{len(faults)} cases cannot be compared:\n" + "\n".join(faults))
    scored = {c.name: o for c, o in zip(cases, outcomes, strict=True) if not isinstance(o, Exception)}
    table = ScoreTable(
        rows=tuple(row for one in scored.values() for row in one.rows),
        subjects={case.name: description.subject(case.name) for case in cases},
        masks={name: one.mask for name, one in scored.items() if one.mask},
        planes={name: one.plane for name, one in scored.items() if one.plane},
    )
    summary = summarise(table)
    write_summary(summary, output)
    write_text(output / "summary.csv", spreadsheet(table))
    return summary


class _Scored(NamedTuple):
    """Rows of a case, digest of its mask and plane of its thick slices; "" where it has none."""

    rows: list[Score]
    mask: str
    plane: str


def _scored(evaluation: Evaluation, case: PredictedCase) -> _Scored:
    mask = "" if case.mask is None else _digest(case.mask)
    return _Scored([*evaluation.score(case)], mask, "" if evaluation.against_images else _plane(case))


def _plane(case: PredictedCase) -> str:
    grid = case.reference_labels.grid
    return slice_plane(grid.orientation(), grid.spacing) or ""


def _digest(mask: Path) -> str:
    """Digest of the voxels, whatever the file format."""
    return hashlib.sha256(read_label_map(mask).array.tobytes()).hexdigest()[:16]
