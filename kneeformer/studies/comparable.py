"""Configurations that can be compared on the same folds, and what others lack for it. Needs no torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kneeformer.paths import Folders
from kneeformer.studies.validated_fold import is_validated
from kneeformer.workflows.fold_state import FoldState
from kneeformer.workflows.request import Request


@dataclass(frozen=True)
class Comparable:
    """Configurations that are all validated on the same folds.

    Attributes:
        validated: folds of every candidate, compared or not.
    """

    validated: Mapping[str, tuple[int, ...]]
    configurations: tuple[str, ...]
    folds: tuple[int, ...]

    @classmethod
    def choose(
        cls, validated: Mapping[str, tuple[int, ...]], requested: tuple[int, ...] | None
    ) -> "Comparable":
        """Choose the configurations that have all requested folds.

        Without a request, choose the most configurations that share a fold, on all folds that they share.
        """
        if requested is not None:
            return cls(
                validated, tuple(n for n, have in validated.items() if {*requested} <= {*have}), requested
            )
        there = sorted({fold for folds in validated.values() for fold in folds})
        groups = [tuple(n for n, have in validated.items() if fold in have) for fold in there]
        found = [cls(validated, names, _common(validated, names)) for names in groups]
        return max(
            found, key=lambda one: (len(one.configurations), len(one.folds)), default=cls(validated, (), ())
        )

    def left_out(self) -> Iterator[str]:
        """Lines about what is not compared, and why."""
        for name, folds in self.validated.items():
            if name not in self.configurations:
                lacking = [fold for fold in self.folds if fold not in folds]
                yield f"{name}: not trained and validated in {_text(lacking)}"
            elif more := [fold for fold in folds if fold not in self.folds]:
                yield f"{_text(more)} of {name}: not trained and validated in every other"

    def lacking(self, requested: tuple[int, ...] | None) -> Iterator[tuple[str, int]]:
        """Configuration and fold of each validation that is missing to compare all on every fold."""
        there = requested or sorted({fold for folds in self.validated.values() for fold in folds}) or (0,)
        return ((name, k) for name, folds in self.validated.items() for k in there if k not in folds)


def validated_folds(folders: Folders, dataset: str, configuration: str, plans: str) -> tuple[int, ...]:
    """Sorted numbers of the folds that are trained and validated; the fold "all" validates nothing."""
    there = filter(is_validated, folders.model(dataset, configuration, plans).glob("fold_*"))
    numbers = [folder.name.removeprefix("fold_") for folder in there]
    return tuple(sorted(int(number) for number in numbers if number.isdigit()))


def command_to_validate(folders: Folders, request: Request) -> str:
    """The command that leads to a validated fold: it trains, resumes or only validates."""
    flags = {FoldState.TRAINED: ["--val"], FoldState.STOPPED: ["--c"]}
    return request.command(*flags.get(FoldState.of(request.folder(folders)), []))


def _common(validated: Mapping[str, tuple[int, ...]], names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(sorted(set.intersection(*(set(validated[name]) for name in names))))


def _text(folds: list[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {' '.join(map(str, folds))}"
