"""Folder of a trained model: its finished folds, and the model beside it that finds bones."""

from collections.abc import Sequence
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.paths import fold_name
from kneeformer.plans import Plan
from kneeformer.tasks.registry import predictive


def fold_folders(folder: Path, folds: Sequence[int | str] | None, checkpoint: str) -> list[Path]:
    """The folders of a model's trained folds: those named, else all but fold_all.

    Raises:
        KneeformerError: no fold is trained, or not one of those named.
    """
    found = sorted(p.parent for p in folder.glob(f"fold_*/checkpoint_{checkpoint}.pt"))
    if not found:
        raise KneeformerError(
            f"{folder}: no trained fold (fold_0/checkpoint_{checkpoint}.pt); train one with kf_train"
        )
    if folds is None:
        return [p for p in found if p.name != "fold_all"] or found
    wanted = [*dict.fromkeys(folder / fold_name(f) for f in folds)]  # each once
    if missing := [p.name for p in wanted if p not in found]:
        raise KneeformerError(
            f"{folder}: {', '.join(missing)} has no checkpoint_{checkpoint}.pt; those that have one: "
            f"{', '.join(p.name for p in found)}"
        )
    return wanted


def bone_finder_folder(model: Path, plan: Plan) -> Path | None:
    """The folder of the model that finds bones for a completion, trained or not; None for other tasks."""
    ((own, configuration),) = plan.configurations.items()
    finder = predictive(configuration.task).bone_finder
    folder = model.absolute()
    return None if finder is None else folder.with_name(f"{folder.name.removesuffix(f'__{own}')}__{finder}")
