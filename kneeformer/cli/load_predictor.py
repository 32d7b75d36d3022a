"""Load the model that the options of kf_predict name."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kneeformer.cli.model_options import model_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kneeformer.workflows.predict import Predictor


@contextmanager
def loaded_predictor(arguments: argparse.Namespace) -> Iterator["Predictor"]:
    """Load the trained folds that -d, -c, -p and -f name, or --best; print what was chosen without them.

    A .kfm file stays unpacked until the block ends: the model that finds bones is loaded from it when needed.

    Raises:
        KneeformerError: there is no such model, or there are several.
    """
    from kneeformer.workflows.share_model import install_model

    if arguments.best:
        yield _best(arguments)
    elif arguments.dataset is not None and (file := Path(arguments.dataset)).is_file():
        _refuse_beside_file(arguments)
        with TemporaryDirectory() as place:
            yield _trained(arguments, install_model(file, Path(place)), arguments.folds)
    else:
        model = model_folder(arguments, arguments.masks is not None)
        yield _untrained(arguments, model) or _trained(arguments, model, arguments.folds)


def _refuse_beside_file(arguments: argparse.Namespace) -> None:
    """Raises KneeformerError: options that choose a model or weights are given beside the file of one."""
    from kneeformer.errors import KneeformerError

    if arguments.configuration or arguments.plans or arguments.checkpoint != "final":
        raise KneeformerError(f"-d {arguments.dataset}: the file of one model; omit -c, -p and -chk")


def _trained(arguments: argparse.Namespace, model: Path, folds: "Sequence[int | str] | None") -> "Predictor":
    from kneeformer.workflows.predict import Predictor

    if folds is None and (line := _folds_used(model, arguments.checkpoint)):
        print(line)
    return Predictor.from_model_folder(
        model,
        folds,
        arguments.checkpoint,
        arguments.device,
        mirroring=not arguments.disable_tta,
        simulate=arguments.simulate,
    )


def _folds_used(model: Path, checkpoint: str) -> str:
    """A line that says which folds predict, and which do not; empty where only one was begun.

    Raises:
        KneeformerError: no fold is trained.
    """
    from kneeformer.workflows.model_folder import fold_folders

    begun = sorted(path.name for path in model.glob("fold_*"))
    if len(begun) < 2:
        return ""
    used = [path.name for path in fold_folders(model, None, checkpoint)]
    left = [name for name in begun if name not in used]
    without = f", without {', '.join(left)}" if left else ""
    return f"folds of {model.name}: {', '.join(used)}{without}"


def _best(arguments: argparse.Namespace) -> "Predictor":
    """Load the choice of kf_find_best_configuration for the dataset, and print it."""
    from kneeformer.paths import Folders
    from kneeformer.studies.chosen_model import read_best
    from kneeformer.workflows.chosen_predictor import ChosenPredictor

    results = Folders.from_environment("results").results
    best = read_best(results, arguments.dataset)
    print(f"model: -d {best.dataset} --best: {best.description()}")
    models = best.models(results)
    members = [_trained(arguments, model, folds) for model, folds in models.items()]
    largest = {kept.structure: kept.components for kept in best.post_processing}
    return ChosenPredictor.of(members, largest) if largest or len(members) > 1 else members[0]


def _untrained(arguments: argparse.Namespace, model: Path) -> "Predictor | None":
    """Load a configuration that needs no training, from its plan; None where it does or has trained folds."""
    from kneeformer.paths import PLANS, Folders
    from kneeformer.plans import read_plan
    from kneeformer.workflows.predict import Predictor

    name: str | None = arguments.configuration
    if name is None or arguments.folds is not None or any(model.glob("fold_*/*.pt")):
        return None
    folders = Folders.from_environment("results")
    file = folders.plan_file(folders.resolve(arguments.dataset), arguments.plans or PLANS["default"])
    plan = read_plan(file) if file.is_file() else None
    if plan is None or name not in plan.configurations or not plan.configuration(name).predicts_untrained:
        return None
    return Predictor.untrained(plan, name, arguments.device, arguments.simulate)
