"""The trained models in kf_results that can predict, and the choice of one."""

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.paths import PLANS
from kneeformer.plans import read_fold_plan
from kneeformer.tasks.registry import predictive, task_named

_USUAL = (PLANS["default"], "3d_vit")


@dataclass(frozen=True)
class TrainedModel:
    """A configuration with trained folds.

    Attributes:
        folder: RESULTS/DATASET/PLANS__CONFIGURATION.
        folds: their names.
    """

    folder: Path
    configuration: str
    task: str
    folds: tuple[str, ...]

    @property
    def dataset(self) -> str:
        return self.folder.parent.name

    @property
    def plans(self) -> str:
        return self.folder.name.removesuffix(f"__{self.configuration}")

    @property
    def requires_mask(self) -> bool:
        return predictive(self.task).requires_mask

    def flags(self) -> str:
        """Return the command-line flags that name it."""
        plans = [] if self.plans == _USUAL[0] else ["-p", self.plans]
        return shlex.join(["-d", self.dataset, "-c", self.configuration, *plans])


def is_model_folder(folder: Path) -> bool:
    """True for a folder that holds folds, trained or begun."""
    return any(folder.glob("fold_*/plan.json"))


def trained_models(results: Path, checkpoint: str = "final") -> list[TrainedModel]:
    """The configurations in $kf_results that have a trained fold and predict cases, by name.

    A fold whose plan cannot be read is logged and left out.
    """
    found = []
    for folder in sorted(results.glob("Dataset*/*__*")):
        folds = sorted(path.parent for path in folder.glob(f"fold_*/checkpoint_{checkpoint}.pt"))
        if not folds or folder.name.startswith("."):  # nothing, or what an interrupted install left
            continue
        try:
            ((name, configuration),) = read_fold_plan(folds[0]).configurations.items()
        except KneeformerError as fault:
            logging.getLogger(__name__).warning("%s", fault)
            continue
        if task_named(configuration.task).predicts:
            if not folder.name.endswith(f"__{name}"):  # renamed
                name = folder.name.partition("__")[2]
            found.append(TrainedModel(folder, name, configuration.task, tuple(fold.name for fold in folds)))
    return found


def choose_model(
    models: Sequence[TrainedModel],
    masks: bool | None,
    dataset: str | None = None,
    configuration: str | None = None,
    plans: str | None = None,
) -> TrainedModel:
    """Choose the one model that fits the names and the input.

    Among several of one dataset, kfPlans is preferred, and then 3d_vit.

    Args:
        masks: True takes models that require masks, False those that do not, None all.
        dataset, configuration, plans: None takes any.

    Raises:
        KneeformerError: there is none, or several; the message lists the models.
    """
    named = [
        model
        for model in models
        if dataset in (None, model.dataset)
        and configuration in (None, model.configuration)
        and plans in (None, model.plans)
    ]
    fitting = [model for model in named if masks in (None, model.requires_mask)]
    if not fitting:
        raise KneeformerError(_none_fits(models, named, masks))
    if len({model.dataset for model in fitting}) == 1:
        fitting = _preferred(fitting, lambda model: model.plans == _USUAL[0])
        fitting = _preferred(fitting, lambda model: model.configuration == _USUAL[1])
    if len(fitting) > 1:
        raise KneeformerError(f"several models are trained; name one:{_listed(fitting)}")
    return fitting[0]


def _preferred(models: list[TrainedModel], usual: Callable[[TrainedModel], bool]) -> list[TrainedModel]:
    return [model for model in models if usual(model)] or models


def _none_fits(models: Sequence[TrainedModel], named: Sequence[TrainedModel], masks: bool | None) -> str:
    if named and masks:
        return f"-m gives masks, but no trained model uses any; there are:{_listed(named)}"
    if named:
        return f"all trained models require masks: give their folder with -m; there are:{_listed(named)}"
    if models:
        return f"no such model is trained; there are:{_listed(models)}"
    return "no model is trained that predicts cases; train one with kf_train, or install one"


def _listed(models: Sequence[TrainedModel]) -> str:
    return "".join(f"\n  {m.flags()}  ({m.task}; {', '.join(m.folds)})" for m in models)
