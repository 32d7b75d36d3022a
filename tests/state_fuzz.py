"""dataset.json, plans, records, checkpoints damaged by chance: each is read as it is, or refused in a line.

Every function damages what it is given `count` times and counts what came of it: "accepted" or "refused".
Anything but a KneeformerError that names the source escapes, and so does what is read otherwise than written.
"""

import copy
import io
import json
import math
import pickle
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kneeformer.data.check import check_layout
from kneeformer.data.dataset import Dataset, with_other_sides
from kneeformer.data.description import DatasetDescription
from kneeformer.engine.checkpoint import load_network, save_checkpoint
from kneeformer.errors import KneeformerError
from kneeformer.plans import Plan, override, parse_plan, read_plan
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.fold_folder import RUN, read_run

ODD: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e9, 1e-9, 1e300, 0.5, 10**9, 10**30, 65_536, 256, 1, 0, -1),
    *(None, True, False, "", " ", "x", "../../x", "/x", "a\nb", "\ud800", "3", "NaN", "x" * 10_000),
    *([], {}, [[]], [0], [1, 1], [9, 1], [2, 2, 2], [0, 0, 0], [10**9] * 3, [-1.0] * 3, {"x": 1}, [None]),
)
CPU = torch.device("cpu")


def outcome(read: Callable[[], object], source: str) -> str:
    """What became of a reading; a refusal names its source and is short."""
    try:
        read()
    except KneeformerError as fault:
        text = str(fault)
        assert source in text and len(text) < 20_000, text[:500]
        return "refused"
    return "accepted"


DESCRIPTIONS: tuple[dict[str, Any], ...] = (
    {
        "channel_names": {"0": "PD", "1": "T2"},
        "labels": {"background": 0, "femur": 1, "tibia": 2, "ignore": 3},
        "file_ending": ".nrrd",
        "task": "segmentation",
        "subjects": {"a_00m": "anna", "b_L": "bert"},
        "sides": {"a_00m": "left"},
    },
    {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "bone": [1, 2, 3], "femur": [2, 3], "head": 3},
        "regions_class_order": [1, 2, 3],
        "file_ending": ".nii.gz",
        "dataset": {"a": {"images": ["a.nii.gz"], "label": "l.nii.gz"}},
    },
    {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "femur"}, "training": []},
)


def fuzz_descriptions(folder: Path, count: int, seed: int) -> Counter[str]:
    """Values and, each fourth time, bytes of a dataset.json; what is accepted is used as a plan uses it."""
    rng, file = random.Random(seed), folder / "dataset.json"
    for name in ("imagesTr/a_00m_0000.nrrd", "imagesTr/b_L_0001.nrrd", "imagesUn/u_0000.nii.gz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    found: Counter[str] = Counter()
    for number in range(count):
        whole = DESCRIPTIONS[number % len(DESCRIPTIONS)]
        text = json.dumps(damaged(whole, rng)).encode()
        file.write_bytes(damaged_bytes(json.dumps(whole).encode(), rng) if number % 4 == 3 else text)
        found[outcome(partial(_use_description, folder), str(file))] += 1
    return found


def _use_description(folder: Path) -> None:
    dataset = Dataset.open(folder)
    check_layout(dataset)
    cases = [*dataset.training_cases(), *dataset.unlabelled_cases()]
    with_other_sides(cases, cases, dataset.description)
    scheme = dataset.description.scheme
    for name, value in zip(scheme.names, scheme.painted, strict=True):
        assert value in scheme.values[scheme.names.index(name)] and 0 < value < 2**31
    assert DatasetDescription.model_validate_json(dataset.description.model_dump_json()).scheme == scheme


def fuzz_plans(content: dict[str, Any], count: int, seed: int) -> Counter[str]:
    """Values of a plan replaced, taken away or added."""
    rng = random.Random(seed)
    return Counter(outcome(partial(_use_plan, damaged(content, rng)), "plan") for _ in range(count))


def _use_plan(content: Any) -> None:
    """Read a plan, write it and read it again, and count each of its networks before it is built."""
    plan = parse_plan(content, "plan")
    assert parse_plan(json.loads(plan.to_text(), parse_constant=_no_constant), "plan") == plan
    for name in plan.configurations:
        _count_network(plan, name)


def _count_network(plan: Plan, name: str) -> None:
    configuration = plan.configuration(name)
    try:
        task = task_named(configuration.task)
        task.refuse_too_large(plan.dataset, configuration, CPU)
    except KneeformerError as fault:
        raise KneeformerError(f"plan: {fault}") from fault


def fuzz_settings(plan: Plan, name: str, count: int, seed: int) -> Counter[str]:
    """`--set` of any key there is to any value."""
    rng, keys = random.Random(seed), _keys(plan.model_dump(mode="json")["configurations"][name])
    found: Counter[str] = Counter()
    for _ in range(count):
        values = [f"{rng.choice(keys)}={_text(rng.choice(ODD))}" for _ in range(rng.randint(1, 3))]
        found[outcome(lambda values=values: _count_network(override(plan, name, values), name), "")] += 1
    return found


def fuzz_plan_files(plan: Plan, folder: Path, count: int, seed: int) -> Counter[str]:
    """Bytes of a plan's file changed, taken away or doubled."""
    rng, file, whole = random.Random(seed), folder / "kfPlans.json", plan.to_text().encode()
    found: Counter[str] = Counter()
    for _ in range(count):
        file.write_bytes(damaged_bytes(whole, rng))
        found[outcome(partial(read_plan, file), str(file))] += 1
    return found


def fuzz_runs(folder: Path, count: int, seed: int) -> Counter[str]:
    """Values and bytes of a fold's run.json."""
    rng, file = random.Random(seed), folder / RUN
    whole = file.read_bytes()
    found: Counter[str] = Counter()
    for number in range(count):
        text = json.dumps(damaged(json.loads(whole), rng)).encode()
        file.write_bytes(text if number % 2 else damaged_bytes(whole, rng))
        found[outcome(partial(read_run, folder), str(file))] += 1
    file.write_bytes(whole)
    return found


def fuzz_checkpoints(folder: Path, count: int, seed: int) -> Counter[str]:
    """Bytes of a checkpoint: what is accepted has the weights that were written."""
    rng, file = random.Random(seed), folder / "checkpoint_final.pt"
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    save_checkpoint(file, {"network": network.state_dict(), "state": {"step": 1}})
    whole, written = file.read_bytes(), network.state_dict()

    def read() -> None:
        found = load_network(lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), file).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in written.items())

    found: Counter[str] = Counter()
    for _ in range(count):
        file.write_bytes(damaged_bytes(whole, rng))
        found[outcome(read, str(file))] += 1
    return found


def fuzz_pickles(folder: Path, count: int, seed: int) -> Counter[str]:
    """Checkpoints with valid checksums whose pickle would leave a file behind if anything ran it."""
    rng, file, trace = random.Random(seed), folder / "checkpoint_final.pt", folder / "executed"
    save_checkpoint(file, {"network": nn.Linear(3, 4).state_dict()})
    whole = file.read_bytes()
    found: Counter[str] = Counter()
    for _ in range(count):
        call = rng.choice(
            [(Path.touch, (trace,)), (open, (str(trace), "w")), (exec, (f"open({str(trace)!r}, 'w')",))]
        )
        content = pickle.dumps({"network": _Calling(*call)}, protocol=2)
        file.write_bytes(_with_pickle(whole, content))
        found[outcome(partial(load_network, lambda: nn.Linear(3, 4), file), str(file))] += 1
        assert not trace.exists(), "a pickle was run"
    return found


class _Calling:
    """What calls a function where it is unpickled."""

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _with_pickle(checkpoint: bytes, content: bytes) -> bytes:
    """A checkpoint with another data.pkl, its checksums in order."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    return made.getvalue()


def damaged(content: Any, rng: random.Random) -> Any:
    """A copy with one to three values replaced, taken away, or added."""
    edited = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        place: Any = edited
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.85:
                place = place[key]
                continue
            kind = rng.random()
            if kind < 0.8:
                place[key] = copy.deepcopy(rng.choice(ODD))
            elif kind < 0.9 or isinstance(place, list):
                del place[key]
            else:
                place[rng.choice(["x", "", "../y", "version"])] = copy.deepcopy(rng.choice(ODD))
            break
    return edited


def damaged_bytes(whole: bytes, rng: random.Random) -> bytes:
    """Bits flipped, the end cut off, a piece taken out or doubled, or something else altogether."""
    first, last = sorted(rng.randrange(len(whole)) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return whole[:first]
    if kind == 1:
        return whole[:first] + whole[last:]
    if kind == 2:
        return whole[:last] + whole[first:]
    if kind == 3 and rng.random() < 0.3:
        return rng.choice([b"", b"<html></html>", b"[" * 100_000, b"\xef\xbb\xbf{}", bytes(100), b"{}"])
    changed = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _keys(settings: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for key, value in settings.items():
        found.append(f"{before}{key}")
        if isinstance(value, dict):
            found += _keys(value, f"{before}{key}.")
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} was written into a plan")
