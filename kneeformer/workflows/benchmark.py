"""Seconds and memory of preprocessing, a training step and a prediction, on this machine and device."""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from kneeformer import __version__
from kneeformer.config import Cost
from kneeformer.engine.step_cost import PeakMemory
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.networks.compute import choose_device, half_precision_helps, to_device
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.plans import Plan
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.registry import predictive, registered
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.what_if import plan_what_if

_CASES = 50  # of a dataset that is only described


@dataclass(frozen=True)
class Measured:
    """Measured seconds and memory of some work, and its cost by formula.

    Attributes:
        memory_mb: the most that the process held on a CPU, or the allocator on a GPU.
        formula: None where no formula is known.
    """

    what: str
    seconds: float
    memory_mb: float
    formula: Cost | None = None


def described_plan(shape: Size, spacing: Spacing, structures: int, device: str | None, memory: float) -> Plan:
    """Plan a segmentation of cases of one shape and spacing (mm) on a device of this machine.

    Args:
        memory: GiB that a training step may take.

    Raises:
        KneeformerError: no such device here.
    """
    here = choose_device(device)
    budget = Budget(here.type, memory, bfloat16=half_precision_helps(here))
    return plan_what_if(shape, spacing, _CASES, 0, structures, budget)


def usual_case(fingerprint: Fingerprint) -> tuple[Size, Spacing]:
    """Return shape and spacing (mm) of the dataset's case with the median number of voxels."""
    cases = sorted(fingerprint.cases.values(), key=lambda case: math.prod(case.shape))
    case = cases[len(cases) // 2]
    return case.shape, case.spacing


def benchmark(plan: Plan, name: str, shape: Size, spacing: Spacing, device: str | None) -> list[Measured]:
    """Measure a segmentation configuration with random weights on a case of noise.

    On a CPU the seconds of a training step are processor time over the number of cores, which a busy machine
    does not change; all other seconds are wall-clock time.

    Raises:
        KneeformerError: the configuration predicts no label maps; or no such device.
    """
    configuration = plan.configuration(name)
    task = predictive(configuration.task)
    if not task.predicts_structures:
        raise KneeformerError(f"{name}: of task {configuration.task!r}; name one that segments with -c")
    here = choose_device(device, task.needs_float64)
    torch.manual_seed(0)
    network = task.network(plan.dataset, configuration)
    noise = np.random.default_rng(0).normal(size=(len(plan.dataset.channel_names), *shape))
    grid = Grid.along_patient(shape, spacing, configuration.preprocessing.usual_orientation)
    scan = Scan(noise.astype(np.float32), grid)
    prepare = registered(configuration.task).prepare
    prepared = _timed(
        "preprocessing of a case",
        torch.device("cpu"),
        lambda: prepare(scan, None, configuration, plan.dataset.scheme),
    )
    budget = Budget(here.type, 0, bfloat16=half_precision_helps(here))
    formula = task.estimate_step(network, plan.dataset, configuration, budget)
    step = task.measure_step(network, plan.dataset, configuration, here)
    assert step is not None  # segmentation measures its steps
    predictor = Predictor(plan.with_only(name), configuration, (to_device(network, here).eval(),))
    return [
        prepared,
        Measured("training step", step.seconds_per_step, step.memory_mb, formula),
        _timed("prediction of a case", here, lambda: predictor.predict_scan(scan)),
    ]


def machine(device: str | None) -> str:
    """Return versions, system, threads, memory and device of this machine."""
    here = choose_device(device)
    gpu = f", {torch.cuda.get_device_name(here)}" if here.type == "cuda" else ""
    return (
        f"kneeformer {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {here.type}{gpu}"
    )


def _timed(what: str, device: torch.device, work: Callable[[], object]) -> Measured:
    started = time.perf_counter()
    with PeakMemory(device) as peak:
        work()
    return Measured(what, time.perf_counter() - started, peak.megabytes)
