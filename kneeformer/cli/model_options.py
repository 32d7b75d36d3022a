"""Options that name a trained model, of the commands that use one."""

import argparse
from pathlib import Path


def add_model(parser: argparse.ArgumentParser, place: str = "folder") -> None:
    """Add the options -d, -c, -p, -f and -chk.

    Args:
        place: what -d may name instead of a dataset.
    """
    parser.add_argument(
        "-d",
        "--dataset",
        default=None,
        help=f"dataset number or name, or {place} of a model (default: the only trained model)",
    )
    parser.add_argument(
        "-c", "--configuration", default=None, help="default: the only trained one, or 3d_vit"
    )
    parser.add_argument(
        "-p",
        "--plans",
        default=None,
        metavar="NAME",
        help="name of the plan (default: kfPlans, or the only one with a trained model)",
    )
    parser.add_argument("-f", "--folds", nargs="+", default=None, help="folds (default: all trained ones)")
    parser.add_argument(
        "-chk",
        "--checkpoint",
        default="final",
        choices=["final", "best", "latest"],
        help="which weights to use (default: final)",
    )


def model_folder(arguments: argparse.Namespace, masks: bool | None) -> Path:
    """Return the folder of the named model, or of the only suitable one, and print its name.

    Args:
        masks: as of `choose_model`.
    """
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import PLANS, Folders
    from kneeformer.workflows.trained_models import choose_model, is_model_folder, trained_models

    dataset: str | None = arguments.dataset
    if dataset is not None and is_model_folder(Path(dataset)):
        if arguments.configuration or arguments.plans:
            raise KneeformerError(f"-d {dataset}: names a trained model; omit -c and -p")
        return Path(dataset)
    folders = Folders.from_environment("results")
    if dataset is not None:
        dataset = folders.resolve(dataset)
        if arguments.configuration is not None:
            return folders.model(dataset, arguments.configuration, arguments.plans or PLANS["default"])
    model = choose_model(
        trained_models(folders.results, arguments.checkpoint),
        masks,
        dataset,
        arguments.configuration,
        arguments.plans,
    )
    print(f"model: {model.flags()}")
    return model.folder
