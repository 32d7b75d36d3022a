"""Export of a trained model as one file, and installation of such a file."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from kneeformer import __version__
from kneeformer.data.files import unfinished, write_json, write_text
from kneeformer.engine.checkpoint import load_checkpoint, load_network, save_checkpoint
from kneeformer.errors import KneeformerError
from kneeformer.metrics.summary import read_summary
from kneeformer.paths import DATASET_PATTERN, FINAL
from kneeformer.plans import Plan, parse_plan, read_fold_plan
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.hub_model import HubName, fetch_model
from kneeformer.workflows.model_archive import (
    CARD,
    MANIFEST,
    PLAN,
    WEIGHTS,
    Manifest,
    read_archive,
    write_archive,
)
from kneeformer.workflows.model_folder import bone_finder_folder, fold_folders

SOURCE = "source.json"


def export_model(
    model: Path, output: Path, folds: Sequence[int | str] | None = None, checkpoint: str = "final"
) -> dict[str, list[str]]:
    """Write the trained folds of a model as one file, which must not exist.

    A bone completion takes the segmentation that finds the bone with it, if that is trained.

    Returns:
        Names of the folds by configuration, the model's own first.

    Raises:
        KneeformerError: the file exists, its name does not end with .kfm, or no fold is trained.
    """
    if output.suffix != ".kfm":
        raise KneeformerError(f"-o {output}: give a name that ends with .kfm")
    if output.exists():
        raise KneeformerError(f"{output}: exists; give another name, or remove it")
    own = _TrainedFolds.of(model, folds, checkpoint)
    beside = bone_finder_folder(model, own.plan)
    members = [own]
    if beside is not None and any(beside.glob(f"fold_*/{FINAL}")):
        members.append(_TrainedFolds.of(beside, None, "final"))
    entries = {CARD: _model_card(own, members[1:]).encode()}
    for member in members:
        entries |= member.entries()
    folder = model.absolute()
    plans, around = folder.name.removesuffix(f"__{own.configuration}"), folder.parent.name
    dataset = around if DATASET_PATTERN.fullmatch(around) else own.plan.dataset.name  # of a copy elsewhere
    write_archive(output, dataset, plans, [member.configuration for member in members], entries)
    return {member.configuration: [path.name for path in member.folders] for member in members}


@dataclass(frozen=True)
class _TrainedFolds:
    """Trained folds of one configuration, and the plan of the first."""

    plan: Plan
    folders: list[Path]
    checkpoint: str

    @classmethod
    def of(cls, model: Path, folds: Sequence[int | str] | None, checkpoint: str) -> "_TrainedFolds":
        """Raises KneeformerError: no fold is trained, plans differ, or the task predicts no cases."""
        folders = fold_folders(model, folds, checkpoint)
        plans = [read_fold_plan(folder) for folder in folders]
        _require_one_model([plan.compatibility_key() for plan in plans], model)
        ((_, settings),) = plans[0].configurations.items()
        predictive(settings.task)
        return cls(plans[0], folders, checkpoint)

    @property
    def configuration(self) -> str:
        (name,) = self.plan.configurations
        return name

    def entries(self) -> dict[str, bytes]:
        """Plans and weights by their names in the archive."""
        found = {}
        for folder in self.folders:
            place = f"{self.configuration}/{folder.name}"
            weights = load_checkpoint(folder / f"checkpoint_{self.checkpoint}.pt")["network"]
            found[f"{place}/{PLAN}"] = read_fold_plan(folder).model_dump_json(indent=2).encode()
            found[f"{place}/{WEIGHTS}"] = save({k: w.contiguous().clone() for k, w in weights.items()})
        return found


def install_model(file: Path, results: Path, source: str | None = None) -> Path:
    """Install a model's file in $kf_results, once all of it is checked.

    Args:
        source: origin of the file, to keep in source.json beside the model.

    Returns:
        The model's folder, as `Predictor.from_model_folder` takes it.

    Raises:
        KneeformerError: as `read_archive`; plans or weights are not those of one model that predicts cases;
            or a model of that name is installed already. Nothing is left behind.
    """
    manifest, contents = read_archive(file)
    target, *others = (
        results / manifest.dataset / f"{manifest.plans}__{name}" for name in manifest.configurations
    )
    for folder in (target, *others):
        if folder.exists():
            raise KneeformerError(f"{folder}: this model exists already; remove it first")
    plans = _plans(file, manifest, contents)
    made = not target.parent.exists()
    beside = unfinished(target)
    placed: list[Path] = []
    try:
        for place, plan in plans.items():
            fold = beside / f"{manifest.plans}__{place}"
            write_text(fold / PLAN, plan.model_dump_json(indent=2))
            _install_weights(file, place, contents[f"{place}/{WEIGHTS}"], plan, fold / FINAL)
        write_text(beside / target.name / CARD, contents.get(CARD, b"").decode("utf-8", "replace"))
        if source is not None:
            write_json(beside / target.name / SOURCE, {"source": source, "kneeformer": __version__})
        for folder in (*others, target):
            (beside / folder.name).rename(folder)
            placed.append(folder)
    finally:
        for folder in [] if target in placed else placed:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)
        if made and target.parent.is_dir() and not any(target.parent.iterdir()):
            target.parent.rmdir()
    return target


def install_from_hub(name: HubName, results: Path) -> Path:
    """Download a model's file and install it; source.json names the commit that it is from.

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
    """The plan of each CONFIGURATION/fold. Raises KneeformerError: they differ from the manifest."""
    places = sorted({name.rpartition("/")[0] for name in contents if name != CARD})
    by_name = {name: [p for p in places if p.startswith(f"{name}/")] for name in manifest.configurations}
    try:
        if empty := [name for name, of in by_name.items() if not of]:
            raise KneeformerError(f"it holds no fold of {empty[0]}")
        if strange := [p for p in places if p.partition("/")[0] not in by_name]:
            raise KneeformerError(f"{strange[0]} belongs to no configuration of {MANIFEST}")
        plans = {place: _plan(place, contents) for of in by_name.values() for place in of}
        own, *others = by_name
        ((_, settings),) = plans[by_name[own][0]].configurations.items()
        if others not in ([], [predictive(settings.task).bone_finder]):
            raise KneeformerError(f"{own} does not need {', '.join(others)}")
    except KneeformerError as fault:
        raise KneeformerError(f"{file}: not installed: {fault}") from fault
    for of in by_name.values():
        _require_one_model([plans[place].compatibility_key() for place in of], file)
    return plans


def _plan(place: str, contents: dict[str, bytes]) -> Plan:
    """The plan of a fold. Raises KneeformerError: it is incomplete or of another configuration."""
    if missing := [part for part in (PLAN, WEIGHTS) if f"{place}/{part}" not in contents]:
        raise KneeformerError(f"{place} has no {missing[0]}")
    try:
        content = json.loads(contents[f"{place}/{PLAN}"])
    except (ValueError, RecursionError) as fault:
        raise KneeformerError(f"{place}/{PLAN} is not JSON ({fault})") from fault
    plan, configuration = parse_plan(content, f"{place}/{PLAN}"), place.partition("/")[0]
    if list(plan.configurations) != [configuration]:
        raise KneeformerError(f"{place}/{PLAN} is not of {configuration}")
    predictive(plan.configuration(configuration).task)
    return plan


def _install_weights(file: Path, place: str, content: bytes, plan: Plan, checkpoint: Path) -> None:
    """Write a checkpoint. Raises KneeformerError: the weights are not the plan's network's."""
    ((_, configuration),) = plan.configurations.items()
    try:
        save_checkpoint(checkpoint, {"network": load(content)})
    except (SafetensorError, ValueError, KeyError) as fault:
        raise KneeformerError(
            f"{file}: not installed: {place}/{WEIGHTS} is not a safetensors file ({fault})"
        ) from fault
    build = partial(predictive(configuration.task).network, plan.dataset, configuration)
    try:
        load_network(build, checkpoint)
    except KneeformerError as fault:
        raise KneeformerError(f"{file}: not installed: {place}: {fault}") from fault


def _require_one_model(keys: list[tuple[object, ...]], source: Path) -> None:
    if any(key != keys[0] for key in keys):
        raise KneeformerError(f"{source}: its folds are trained by different plans; choose some with -f")


def _model_card(own: _TrainedFolds, others: Sequence[_TrainedFolds]) -> str:
    """Markdown: input and labels of the model, its validation scores and its intended use.

    Args:
        others: models in the same file.
    """
    ((name, configuration),) = own.plan.configurations.items()
    dataset, folds = own.plan.dataset, own.folders
    structures = ", ".join(f"{n} ({v})" for n, v in dataset.labels.items())
    lines = [
        f"# {dataset.name}, {name}",
        "",
        f"Task: {configuration.task}. Channels: {', '.join(dataset.channel_names)}. Labels: {structures}.",
        f"Folds: {', '.join(path.name for path in folds)}.",
        *(f"Included: {o.configuration}, which finds the bone where a mask marks none." for o in others),
        "",
        "## Validation",
        "",
    ]
    scores = [
        f"- {path.name}: mean {metric} {value:.4g}"
        for path in folds
        if own.checkpoint == "final" and (path / "validation" / "summary.json").is_file()
        for metric, value in read_summary(path / "validation").foreground_mean.items()
    ]
    unknown = (
        "No summary of a validation was found beside the folds."
        if own.checkpoint == "final"
        else f"The weights are those of checkpoint_{own.checkpoint}.pt: only final ones are validated."
    )
    lines += scores or [unknown]
    lines += [
        "",
        "## Intended use",
        "",
        "Research on scans like those that it was trained on. It is not a medical device; check each result.",
        "",
    ]
    return "\n".join(lines)
