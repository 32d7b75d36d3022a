"""The scores of a validated fold, and whether they can be compared with others. Needs no torch."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.dataset import Dataset
from kneeformer.errors import KneeformerError
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.summary import read_summary
from kneeformer.paths import FINAL, Folders
from kneeformer.workflows.request import Request


@dataclass(frozen=True)
class ValidatedFold:
    """The scores of one training."""

    folder: Path
    request: Request
    scores: ScoreTable

    @classmethod
    def read(cls, folders: Folders, request: Request, labels: Mapping[str, Path]) -> "ValidatedFold":
        """Read the scores of a fold; warn if reference label maps have changed since.

        Args:
            labels: as `label_maps`.

        Raises:
            KneeformerError: its summary is missing or damaged.
        """
        folder = request.folder(folders)
        scores = read_summary(folder / "validation").table
        if changed := changed_since(folder, scores, labels):
            logging.getLogger(__name__).warning(
                "%s: scored before the label maps of %s were changed; validate again: %s",
                folder,
                ", ".join(changed),
                request.command("--val"),
            )
        return cls(folder, request, scores)


def changed_since(folder: Path, scores: ScoreTable, labels: Mapping[str, Path]) -> list[str]:
    """Cases of a validated fold's scores whose label maps are newer than these."""
    when = (folder / "validation" / "summary.json").stat().st_mtime
    references = {case: labels[case] for case in scores.cases if case in labels}
    return [case for case, file in references.items() if file.is_file() and file.stat().st_mtime > when]


def label_maps(dataset: Dataset | None) -> dict[str, Path]:
    """The label map of each case; none where the raw data is not there."""
    cases = [] if dataset is None else dataset.training_cases()
    return {case.name: case.label for case in cases if case.label is not None}


def is_validated(folder: Path) -> bool:
    """True where a fold is trained to its end and validated."""
    return (folder / FINAL).is_file() and (folder / "validation" / "summary.json").is_file()


def refuse_other_masks(fold: ValidatedFold, cases: Iterable[str], others: Iterable[ValidatedFold]) -> None:
    """Refuse to compare folds of different cases or masks.

    Args:
        cases: validation cases of the fold in the dataset's splits.

    Raises:
        KneeformerError: the fold was validated on other cases; or another configuration was validated on
            the same fold with other masks.
    """
    if set(fold.scores.cases) != set(cases):
        raise KneeformerError(
            f"{fold.folder}: validated on other cases than splits_final.json has now; "
            f"{fold.request.command('--overwrite')}"
        )
    for other in others:
        if other.request.fold == fold.request.fold and other.scores.masks != fold.scores.masks:
            raise KneeformerError(
                f"{fold.folder}: other regions were hidden than in {other.folder}; validate both again: "
                f"{other.request.command('--val')} and {fold.request.command('--val')}"
            )
