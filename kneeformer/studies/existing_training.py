"""A training that may exist already, finished or stopped, and its differences from the request."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kneeformer.engine.loop import ProgressEvent
from kneeformer.errors import KneeformerError, first_few
from kneeformer.metrics.summary import Summary, read_summary
from kneeformer.paths import Folders
from kneeformer.plans import Plan, override, read_dataset_plan, read_fold_plan
from kneeformer.progress import Progress
from kneeformer.studies.validated_fold import changed_since, is_validated, label_maps
from kneeformer.workflows.fold_folder import Run, read_run
from kneeformer.workflows.fold_state import RUN, FoldState
from kneeformer.workflows.raw_data import raw_dataset
from kneeformer.workflows.request import Request
from kneeformer.workflows.train import train_fold
from kneeformer.workflows.training_cases import split_of


@dataclass(frozen=True)
class ExistingTraining:
    """A training of a study: its request, its folder, and the training that its weights come from."""

    folders: Folders
    request: Request
    before: "ExistingTraining | None" = None

    @property
    def folder(self) -> Path:
        return self.request.folder(self.folders)

    @property
    def finished(self) -> bool:
        return FoldState.of(self.folder) is FoldState.TRAINED

    @property
    def stopped(self) -> bool:
        return FoldState.of(self.folder) is FoldState.STOPPED

    @property
    def validated(self) -> bool:
        return is_validated(self.folder)

    def train(self, watch_training: Callable[[ProgressEvent], None], watch: Progress) -> None:
        """Train to the end and validate; only validate if it is trained."""
        request = replace(self.request, resume=self.stopped, validate_only=self.finished)
        if self.stopped:  # it has its weights, wherever those lay that it began with
            request = replace(request, pretrained_weights=None)
        train_fold(self.folders, request, watch_training, watch)

    def summary(self, watch_training: Callable[[ProgressEvent], None], watch: Progress) -> Summary:
        """The scores of its validation, after training it if necessary."""
        if not self.validated:
            self.train(watch_training, watch)
        return read_summary(self.folder / "validation")

    def differences(self) -> list[str]:
        """List the differences between the stored training and the request; none if nothing is stored.

        The resulting settings are compared: naming the plan's own value is no difference, an edited plan is
        one, and so are splits that hold out other cases than those it was validated on, or their new labels.
        """
        if not (self.folder / RUN).is_file() or not (self.finished or self.stopped):
            return []
        run = read_run(self.folder)
        requested = {**self._settings(self._plan()), **self._run()}
        made = {
            **self._settings(read_fold_plan(self.folder)),
            **{key: getattr(run, key) for key in self._run()},
        }
        found = [
            f"{key} was {_text(made.get(key))}, is now {_text(requested.get(key))}"
            for key in dict.fromkeys([*requested, *made])
            if requested.get(key) != made.get(key)
        ]
        if self.validated:
            found += self._validated_otherwise()
        if self.before is not None and not self.before._is_what_followed(run):
            found.append(f"began with earlier weights of {self.before.folder}")
        return found

    def _validated_otherwise(self) -> list[str]:
        scores, found = read_summary(self.folder / "validation").table, []
        if {*scores.cases} != {*split_of(self.folders, self.request)["val"]}:
            found.append("was validated on other cases than splits_final.json holds out now")
        labels = label_maps(raw_dataset(self.folders, self.request.dataset))
        if changed := changed_since(self.folder, scores, labels):
            found.append(f"was validated before the label maps of {first_few(changed, 5)} were changed")
        return found

    def _is_what_followed(self, run: Run) -> bool:
        """True where a training began with these weights, and they are those requested."""
        if not self.finished or self.differences():
            return False
        return read_run(self.folder).started <= run.started

    def _run(self) -> dict[str, Any]:
        """The entries of run.json that the request would write, without settings."""
        request = self.request
        return {
            "minutes": request.minutes,
            "seed": request.seed or 0,
            "subjects": request.subjects,
            "pretrain_from": request.pretrain_from,
        }

    def _plan(self) -> Plan:
        request = self.request
        plan = read_dataset_plan(self.folders, request.dataset, request.plans)
        return override(plan.with_only(request.configuration), request.configuration, request.assignments)

    def _settings(self, plan: Plan) -> dict[str, Any]:
        return _flat(
            plan.without_evidence().configuration(self.request.configuration).model_dump(mode="json")
        )


def refuse_made_otherwise(trainings: Iterable[ExistingTraining]) -> None:
    """Raises KneeformerError: existing trainings differ from the request; all are listed."""
    found = {t.folder: differences for t in trainings if (differences := t.differences())}
    if found:
        lines = "\n".join(f"  {folder}: {'; '.join(said)}" for folder, said in found.items())
        raise KneeformerError(
            f"{len(found)} trainings differ from the request; move their folders away to repeat them, or "
            f"use the old settings\n{lines}"
        )


def _flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by the path of their key, as in --set."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def _text(value: Any) -> str:
    return "not given" if value is None else str(value)
