"""Sharing of trained models: one file out, and installed elsewhere."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from kneeformer import __version__
from kneeformer.data.files import unfinished, write_json, write_text
from kneeformer.engine.checkpoint import load_checkpoint, load_network, save_checkpoint
from kneeformer.errors import KneeformerError
from kneeformer.metrics.summary import read_summary
from kneeformer.paths import FINAL
from kneeformer.plans import Plan, parse_plan, read_fold_plan
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.hub_model import HubName, fetch_model
from kneeformer.workflows.model_archive import (
    CARD,
    PLAN,
    WEIGHTS,
    Manifest,
    read_archive,
    write_archive,
)
from kneeformer.workflows.predict import fold_folders

SOURCE = "source.json"


def export_model(
    model: Path, output: Path, folds: Sequence[int | str] | None = None, checkpoint: str = "final"
) -> list[str]:
    """Write the trained folds of a model as one file, which must not exist.

    Returns:
        Names of the folds.

    Raises:
        KneeformerError: the file exists, its name does not end with .kfm; or no trained fold.
    """
    if output.suffix != ".kfm":
        raise KneeformerError(f"-o {output}: give a name that ends with .kfm")
    if output.exists():
        raise KneeformerError(f"{output}: exists; give another name, or remove it")
    paths = fold_folders(model, folds, checkpoint)
    plans = [read_fold_plan(path) for path in paths]
    _require_one_model([plan.compatibility_key() for plan in plans], model)
    ((configuration, settings),) = plans[0].configurations.items()
    predictive(settings.task)
    entries = {CARD: model_card(plans[0], paths).encode()}
    for path, plan in zip(paths, plans, strict=True):
        weights = load_checkpoint(path / f"checkpoint_{checkpoint}.pt")["network"]
        entries[f"{path.name}/{PLAN}"] = plan.model_dump_json(indent=2).encode()
        entries[f"{path.name}/{WEIGHTS}"] = save({k: w.contiguous().clone() for k, w in weights.items()})
    folder = model.absolute()
    write_archive(output, folder.parent.name, folder.name.partition("__")[0], configuration, entries)
    return [path.name for path in paths]


def install_model(file: Path, results: Path, source: str | None = None) -> Path:
    """Install a model's file in $kf_results, after all of it is checked.

    Args:
        source: where the file is from, kept in source.json beside the model; None keeps nothing.

    Returns:
        The model's folder, as `Predictor.from_model_folder` takes it.

    Raises:
        KneeformerError: as `read_archive`; its plans or weights are not those of one model that predicts
            cases; or such a model is installed already. Nothing is left behind.
    """
    manifest, contents = read_archive(file)
    target = results / manifest.dataset / f"{manifest.plans}__{manifest.configuration}"
    if target.exists():
        raise KneeformerError(f"{target}: there is such a model already; remove it first")
    plans = _plans(file, manifest, contents)
    made = not target.parent.exists()
    beside = unfinished(target)
    try:
        write_text(beside / CARD, contents.get(CARD, b"").decode("utf-8", "replace"))
        for fold, plan in plans.items():
            write_text(beside / fold / PLAN, plan.model_dump_json(indent=2))
            _install_weights(file, fold, contents[f"{fold}/{WEIGHTS}"], plan, beside / fold / FINAL)
        if source is not None:
            write_json(beside / SOURCE, {"source": source, "kneeformer": __version__})
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if made and target.parent.is_dir() and not any(target.parent.iterdir()):
            target.parent.rmdir()
    return target


def install_from_hub(name: HubName, results: Path) -> Path:
    """As `install_model`, of a file that is downloaded first; source.json names the commit that it is from.

    Raises:
        KneeformerError: as `fetch_model` and `install_model`; nothing is left behind.
    """
    with tempfile.TemporaryDirectory(dir=results if results.is_dir() else None) as folder:
        file, source = fetch_model(name, Path(folder))
        try:
            return install_model(file, results, source)
        except KneeformerError as fault:
            raise KneeformerError(str(fault).replace(str(file), source)) from fault


def _plans(file: Path, manifest: Manifest, contents: dict[str, bytes]) -> dict[str, Plan]:
    """The plan of each fold. Raises KneeformerError: they are not those of the manifest's model."""
    folds = sorted({name.partition("/")[0] for name in contents if name != CARD})
    if not folds:
        raise KneeformerError(f"{file}: not installed: it holds no fold")
    try:
        plans = {fold: _plan(fold, manifest.configuration, contents) for fold in folds}
    except KneeformerError as fault:
        raise KneeformerError(f"{file}: not installed: {fault}") from fault
    _require_one_model([plan.compatibility_key() for plan in plans.values()], file)
    return plans


def _plan(fold: str, configuration: str, contents: dict[str, bytes]) -> Plan:
    """Raises KneeformerError: incomplete, or no plan of that configuration of a model that predicts cases."""
    if missing := [part for part in (PLAN, WEIGHTS) if f"{fold}/{part}" not in contents]:
        raise KneeformerError(f"{fold} has no {missing[0]}")
    try:
        content = json.loads(contents[f"{fold}/{PLAN}"])
    except (ValueError, RecursionError) as fault:
        raise KneeformerError(f"{fold}/{PLAN} is no JSON ({fault})") from fault
    plan = parse_plan(content, f"{fold}/{PLAN}")
    if list(plan.configurations) != [configuration]:
        raise KneeformerError(f"{fold}/{PLAN} is not of {configuration}")
    predictive(plan.configuration(configuration).task)
    return plan


def _install_weights(file: Path, fold: str, content: bytes, plan: Plan, checkpoint: Path) -> None:
    """Write a checkpoint. Raises KneeformerError: the weights are not the plan's network's."""
    ((_, configuration),) = plan.configurations.items()
    try:
        save_checkpoint(checkpoint, {"network": load(content)})
    except (SafetensorError, ValueError, KeyError) as fault:
        raise KneeformerError(
            f"{file}: not installed: {fold}/{WEIGHTS} is no safetensors file ({fault})"
        ) from fault
    build = partial(predictive(configuration.task).network, plan.dataset, configuration)
    try:
        load_network(build, checkpoint)
    except KneeformerError as fault:
        raise KneeformerError(f"{file}: not installed: {fold}: {fault}") from fault


def _require_one_model(keys: list[tuple[object, ...]], source: Path) -> None:
    if any(key != keys[0] for key in keys):
        raise KneeformerError(f"{source}: its folds are trained by different plans; choose some with -f")


def model_card(plan: Plan, folds: Sequence[Path]) -> str:
    """Markdown: what the model takes and gives, its validation scores, and what it is not for."""
    ((name, configuration),) = plan.configurations.items()
    dataset = plan.dataset
    structures = ", ".join(f"{n} ({v})" for n, v in dataset.labels.items())
    lines = [
        f"# {dataset.name}, {name}",
        "",
        f"Task: {configuration.task}. Channels: {', '.join(dataset.channel_names)}. Labels: {structures}.",
        f"Folds: {', '.join(path.name for path in folds)}.",
        "",
        "## Validation",
        "",
    ]
    scores = [
        f"- {path.name}: mean {metric} {value:.4g}"
        for path in folds
        if (path / "validation" / "summary.json").is_file()
        for metric, value in read_summary(path / "validation").foreground_mean.items()
    ]
    lines += scores or ["No summary of a validation was found beside the folds."]
    lines += [
        "",
        "## Intended use",
        "",
        "Research on scans like those that it was trained on. It is no medical device; look at each result.",
        "",
    ]
    return "\n".join(lines)
