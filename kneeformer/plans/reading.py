"""Reading of plans: resolves inheritance, applies the changes of a run, and reports faults by their key."""

import json
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import BaseModel, ValidationError

from kneeformer.config import Configuration
from kneeformer.data.files import read_json
from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plans.plan import VERSION, Plan
from kneeformer.tasks.registry import registered


def read_plan(file: Path, remedy: str = "make it with kf_plan_and_preprocess (-d DATASET)") -> Plan:
    """Read and check a plan file.

    Args:
        remedy: advice if there is no plan.

    Raises:
        KneeformerError: missing, not JSON, with a key twice in one object, or wrong; every fault with the
            path of its key.
    """
    if not file.exists():
        raise KneeformerError(f"{file}: no such plan; {remedy}")
    try:
        content = read_json(file)
    except KneeformerError as fault:
        raise KneeformerError(f"{fault}, or {remedy}") from fault
    return parse_plan(content, str(file))


def read_dataset_plan(folders: Folders, dataset: str, plans: str) -> Plan:
    """Read the plan by which a dataset is prepared and trained.

    Raises:
        KneeformerError: as `read_plan`; or it is the plan of another dataset.
    """
    file = folders.plan_file(dataset, plans)
    plan = read_plan(file, f"make it with kf_plan_and_preprocess -d {quote(dataset)}")
    if plan.dataset.name != dataset:
        raise KneeformerError(
            f"{file}: dataset.name is {plan.dataset.name!r}: a plan of another dataset; make one "
            f"for this with kf_plan -d {quote(dataset)} -p {quote(plans)}"
        )
    return plan


def read_fold_plan(folder: Path) -> Plan:
    """Read the plan, of one configuration, by which a fold was trained.

    Raises:
        KneeformerError: as `read_plan`; or it has several configurations.
    """
    file = folder / "plan.json"
    plan = read_plan(file, "retrain the fold with kf_train ... --overwrite")
    if len(plan.configurations) != 1:
        raise KneeformerError(
            f"{file}: has {len(plan.configurations)} configurations: not the plan of a trained fold; "
            f"restore the one that it was trained with, or retrain the fold with kf_train ... --overwrite"
        )
    return plan


def parse_plan(content: Any, source: str) -> Plan:
    """Check the content of a plan file; `source` is named in errors. Raises as `read_plan`."""
    try:
        return _checked(content)
    except KneeformerError as fault:
        raise KneeformerError(f"{source}: {fault}") from fault


def _checked(content: Any) -> Plan:
    """The plan, each configuration checked by its task's settings. Raises KneeformerError: all faults."""
    configurations, faults = _configurations(content), []
    checked: dict[str, Configuration] = {}
    for name in configurations:
        settings = _resolve(name, configurations, ())
        model = registered(str(settings.get("task"))).settings
        try:
            checked[name] = model.model_validate(settings)
        except ValidationError as found:
            faults.append(describe(found, model, f"configurations.{name}."))
    if not faults:
        try:
            return Plan.model_validate({**content, "configurations": checked})
        except ValidationError as found:
            faults.append(describe(found, Plan))
    raise KneeformerError("not a valid plan:\n" + "\n".join(faults))


def _configurations(content: Any) -> dict[str, dict[str, Any]]:
    """The configurations. Raises KneeformerError: there are none, or the plan has another version."""
    if not isinstance(content, dict) or not isinstance(content.get("configurations"), dict):
        raise KneeformerError("not a plan: it has no configurations")
    version, known = content.get("version", VERSION), VERSION
    if version != known:
        raise KneeformerError(
            f"version is {version!r:.40}, and this kneeformer reads plans of version {known}: update "
            f"kneeformer, or plan again with kf_plan"
        )
    configurations: dict[str, Any] = content["configurations"]
    for name, configuration in configurations.items():
        if not isinstance(configuration, dict):
            raise KneeformerError(f"configurations.{name}: must be an object of settings")
    return configurations


def override(plan: Plan, name: str, assignments: list[str]) -> Plan:
    """Set fields of one configuration from "key.path=value" texts; values are JSON, or plain words.

    Example: `override(plan, "3d_vit", ["training.learning_rate=3e-4", "network.decoder=linear"])`.

    Raises:
        KneeformerError: a text without "=", a result that is not a valid plan, or no such configuration.
    """
    plan.configuration(name)
    content = plan.model_dump(mode="json")
    target = content["configurations"][name]
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise KneeformerError(f"--set {assignment}: write key=value, e.g. training.learning_rate=3e-4")
        *parents, last = path.strip().split(".")
        place = target
        for key in parents:
            if not isinstance(place, dict) or key not in place:
                raise KneeformerError(f"--set {assignment}: no {key!r} here; keys: {_keys(place)}")
            place = place[key]
        if not isinstance(place, dict) or last not in place:
            raise KneeformerError(f"--set {assignment}: no {last!r} here; keys: {_keys(place)}")
        place[last] = _value(text)
    return parse_plan(content, "--set")


def describe(faults: ValidationError, model: type[BaseModel], before: str = "") -> str:
    """One line per fault: path of the key, what is wrong, and the choices.

    Args:
        model: class of the checked settings.
        before: path of these settings.
    """
    lines = []
    for fault in faults.errors():
        path = before + ".".join(map(str, fault["loc"]))
        lines.append(f"  {path.removesuffix('.') or 'plan'}: {_explain(fault, model)}")
    return "\n".join(lines)


def _explain(fault: Any, model: type[BaseModel]) -> str:
    if fault["type"] == "extra_forbidden":
        return f"no such setting; {_choices(fault['loc'], model)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "tuple_type":
        message = "must be a list, such as [1, 2, 3]"
    return message + (
        f" (it is {fault['input']!r:.80})" if isinstance(fault["input"], (str, int, float, bool)) else ""
    )


def _choices(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """The valid settings beside the key at `location`."""
    place: Any = model
    for key in location[:-1]:
        if isinstance(key, str) and place is not None:
            place = _model_in(place.model_fields[key].annotation)
    return f"settings here: {', '.join(getattr(place, 'model_fields', {}))}"


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in getattr(annotation, "__args__", ()) if (m := _model_in(a))), None)


def _resolve(name: str, configurations: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(name, str) or name not in configurations:
        raise KneeformerError(
            f"configurations.{seen[-1]}.inherits_from: {name!r:.80} is none of {', '.join(configurations)}"
        )
    if name in seen:
        raise KneeformerError(f"configurations.{name}.inherits_from is circular: {' > '.join(seen)}")
    own: dict[str, Any] = configurations[name]
    parent = own.get("inherits_from")
    if parent is None:
        return own
    inherited = _resolve(parent, configurations, (*seen, name))
    if inherited.get("previous_stage") == name:  # it comes before its parent, and not before itself
        inherited = {**inherited, "previous_stage": None}
    merged: dict[str, Any] = _merge(inherited, own)
    return merged


def _merge(parent: Any, own: Any) -> Any:
    if not (isinstance(parent, dict) and isinstance(own, dict)):
        return own
    return {**parent, **{k: _merge(parent[k], v) if k in parent else v for k, v in own.items()}}


def _keys(place: Any) -> str:
    return ", ".join(place) if isinstance(place, dict) else "none, it is a single value"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
