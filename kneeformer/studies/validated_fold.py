"""A validated fold: what was asked in it and what came of it. Needs no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.metrics.summary import CaseScores
from kneeformer.paths import FINAL
from kneeformer.workflows.request import Request


@dataclass(frozen=True)
class ValidatedFold:
    """Of one training.

    Attributes:
        asked: of each case a digest of what was hidden, "" where nothing is.
    """

    folder: Path
    request: Request
    asked: Mapping[str, str]
    cases: tuple[CaseScores, ...]


def is_validated(folder: Path) -> bool:
    """True where a fold is trained to its end, and validated since."""
    return (folder / FINAL).is_file() and (folder / "validation" / "summary.json").is_file()


def refuse_other_masks(fold: ValidatedFold, cases: Iterable[str], others: Iterable[ValidatedFold]) -> None:
    """Folds can be compared where they were asked the same.

    Args:
        cases: those that the fold validates on by the dataset's splits.

    Raises:
        KneeformerError: the fold was validated on other cases; or another configuration's cases of that
            fold were asked otherwise.
    """
    if set(fold.asked) != set(cases):
        raise KneeformerError(
            f"{fold.folder}: validated on other cases than splits_final.json has now; "
            f"{fold.request.command('--overwrite')}"
        )
    for other in others:
        if other.request.fold == fold.request.fold and other.asked != fold.asked:
            raise KneeformerError(
                f"{fold.folder}: other regions were hidden than in {other.folder}; validate both again: "
                f"{other.request.command('--val')} and {fold.request.command('--val')}"
            )
