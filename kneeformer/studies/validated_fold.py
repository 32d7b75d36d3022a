"""The scores of a validated fold, and whether they can be compared with others. Needs no torch."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.summary import read_summary
from kneeformer.paths import FINAL, Folders
from kneeformer.workflows.raw_data import raw_dataset
from kneeformer.workflows.request import Request


@dataclass(frozen=True)
class ValidatedFold:
    """The scores of one training."""

    folder: Path
    request: Request
    scores: ScoreTable

    @classmethod
    def read(cls, folders: Folders, request: Request) -> "ValidatedFold":
        """Read the scores of a fold; warn if reference label maps have changed since.

        Raises:
            KneeformerError: its summary is missing or damaged.
        """
        folder = request.folder(folders)
        scores = read_summary(folder / "validation").table
        if changed := _changed_since(folders, request, scores.cases, folder / "validation" / "summary.json"):
            logging.getLogger(__name__).warning(
                "%s: scored before the label maps of %s were changed; validate again: %s",
                folder,
                ", ".join(changed),
                request.command("--val"),
            )
        return cls(folder, request, scores)


def _changed_since(folders: Folders, request: Request, scored: Iterable[str], summary: Path) -> list[str]:
    """Scored cases whose label maps are newer than the summary; none without the raw data."""
    dataset, cases = raw_dataset(folders, request.dataset), set(scored)
    if dataset is None:
        return []
    labels = {case.name: case.label for case in dataset.training_cases() if case.name in cases}
    when = summary.stat().st_mtime
    return [n for n, file in labels.items() if file and file.is_file() and file.stat().st_mtime > when]


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
