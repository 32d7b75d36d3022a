"""Train one fold of a configuration, then validate it on whole cases in their native geometry."""

import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from kneeformer import __version__
from kneeformer.data.dataset import Dataset
from kneeformer.data.files import read_json, write_json, write_text
from kneeformer.data.splits import Split, fold_cases
from kneeformer.data.storage import stored_key
from kneeformer.errors import KneeformerError
from kneeformer.evaluation.summary import Summary
from kneeformer.networks.compute import choose_device, place
from kneeformer.paths import Folders, fold_name
from kneeformer.plan import Plan, override, read_plan
from kneeformer.stages.evaluate import evaluate_cases
from kneeformer.stages.fingerprint import Watch, default_processes
from kneeformer.stages.predict import Predictor, essence
from kneeformer.tasks import task_named
from kneeformer.tasks.base import StoredCases
from kneeformer.training.loop import FINAL, LATEST, Course, Moment, train

RUN = "run.json"  # written last when a training begins: where it is, there is something to go on with


@dataclass(frozen=True)
class Request:
    """One training as the user asks for it; what is None is the plan's, or what the training began with."""

    dataset: str
    configuration: str
    fold: int | str
    plans: str = "kfPlans"
    epochs: int | None = None
    minutes: float | None = None
    seed: int | None = None
    device: str | None = None
    resume: bool = False
    overwrite: bool = False
    validate_only: bool = False
    settings: tuple[str, ...] = ()

    @property
    def assignments(self) -> list[str]:
        """What differs from the plan, as --set would say it."""
        return [*self.settings, *([] if self.epochs is None else [f"training.epochs={self.epochs}"])]


def train_fold(
    folders: Folders, request: Request, watch_training: Callable[[Moment], None], watch: Watch
) -> Summary | None:
    """Train and validate one fold; its folder holds everything prediction needs.

    Returns:
        The validation's summary; None for the fold "all", whose cases all trained.

    Raises:
        KneeformerError: no such configuration or fold; the fold is finished, unfinished or being trained
            already; the data is not prepared; the loss diverged.
    """
    fold = fold_name(request.fold)
    planned = read_plan(folders.plan_file(request.dataset, request.plans)).with_only(request.configuration)
    split = fold_cases(read_json(folders.preprocessed / request.dataset / "splits_final.json"), fold)
    folder = folders.model(request.dataset, request.configuration, request.plans) / fold
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        _refuse_to_overwrite(folder, request)
        if not request.validate_only:
            _train(folders, folder, planned, split, request, watch_training)
        return None if fold == "fold_all" else _validate(folders, folder, split["val"], request, watch)


def _train(
    folders: Folders,
    folder: Path,
    planned: Plan,
    split: Split,
    request: Request,
    watch: Callable[[Moment], None],
) -> None:
    if request.resume:
        planned, request = _as_begun(folder, request)
    plan, seed = override(planned, request.configuration, request.assignments), request.seed or 0
    configuration = plan.configuration(request.configuration)
    stored = folders.preprocessed / request.dataset / configuration.preprocessing.folder
    _require_prepared(stored, split, request)
    device = choose_device(request.device)
    _begin(folder, plan, request, device)
    torch.manual_seed(seed)
    task = task_named(configuration.task)
    network = place(task.network(plan.dataset, configuration), device)
    course = Course(
        network=network,
        lesson=task.lesson(plan.dataset, configuration),
        training=task.batches(
            StoredCases(stored, split["train"]), plan.dataset, configuration, seed, training=True
        ),
        validation=task.batches(
            StoredCases(stored, split["val"]), plan.dataset, configuration, seed + 1, training=False
        ),
        settings=configuration.training,
        folder=folder,
        device=device,
        seed=seed,
        minutes=request.minutes,
        workers=0 if device.type == "cpu" else 8,
    )
    train(course, (folder / LATEST).is_file(), watch)


def _begin(folder: Path, plan: Plan, request: Request, device: torch.device) -> None:
    """Write down what the fold is trained by; a new training clears away earlier checkpoints."""
    if not request.resume:
        for file in (folder / RUN, *folder.glob("checkpoint_*.pt")):
            file.unlink(missing_ok=True)
    write_text(folder / "plan.json", plan.to_text())
    write_json(
        folder / RUN,
        {
            "kneeformer": __version__,
            "torch": torch.__version__,
            "machine": platform.platform(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "seed": request.seed or 0,
            "minutes": request.minutes,
            "set": request.assignments,
            "device": str(device),
            "threads": torch.get_num_threads(),
        },
    )


def _as_begun(folder: Path, request: Request) -> tuple[Plan, Request]:
    """The plan of a training that goes on; and its seed, minutes and settings where no others are given."""
    plan, begun = read_plan(folder / "plan.json"), read_json(folder / RUN)
    changed = override(plan, request.configuration, request.assignments)
    if essence(changed) != essence(plan):
        raise KneeformerError(
            f"{folder}: --c can change neither the network nor its input; leave --set network... and "
            f"preprocessing... away, or start anew with --overwrite"
        )
    return plan, replace(
        request,
        seed=begun["seed"] if request.seed is None else request.seed,
        minutes=request.minutes or begun["minutes"],
        settings=(*begun["set"], *request.settings),
    )


def _validate(folders: Folders, folder: Path, cases: list[str], request: Request, watch: Watch) -> Summary:
    dataset = Dataset.open(folders.raw / request.dataset)
    wanted = [c for c in dataset.training_cases() if c.name in set(cases)]
    predictor = Predictor.from_model_folder(folder.parent, (folder.name,), device=request.device)
    output = folder / "validation"
    for done, case in enumerate(wanted, 1):
        predictor.predict_case(case, output)
        watch("Validating on whole cases", done, len(wanted))
    return evaluate_cases(wanted, output, dataset.description, output, default_processes(), watch)


def _alone_in(folder: Path) -> AbstractContextManager[object]:
    """A lock that the system lets go of when its process ends, however it ends."""
    lock = FileLock(folder / ".training.lock", timeout=0)
    try:
        return lock.acquire()
    except Timeout as fault:
        raise KneeformerError(
            f"{folder}: another kf_train is training this fold; wait for it or stop it"
        ) from fault


def _refuse_to_overwrite(folder: Path, request: Request) -> None:
    finished, begun = (folder / FINAL).is_file(), (folder / LATEST).is_file()
    if request.validate_only:
        if not finished:
            raise KneeformerError(f"{folder}: not trained to its end; there is nothing to validate")
    elif request.resume:
        if not (folder / RUN).is_file():
            raise KneeformerError(f"{folder}: nothing to go on with; start without --c")
    elif request.overwrite:
        return
    elif finished:
        raise KneeformerError(
            f"{folder}: this fold is trained; train it anew with --overwrite, or validate with --val"
        )
    elif begun:
        raise KneeformerError(
            f"{folder}: a training stopped here; go on with --c, or start anew with --overwrite"
        )


def _require_prepared(stored: Path, split: Split, request: Request) -> None:
    missing = sorted(c for c in {*split["train"], *split["val"]} if stored_key(stored, c) is None)
    if missing:
        raise KneeformerError(
            f"{stored}: {len(missing)} cases are not preprocessed ({', '.join(missing[:5])}); run "
            f"kf_preprocess -d {request.dataset} -c {request.configuration}"
        )
