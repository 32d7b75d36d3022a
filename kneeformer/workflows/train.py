"""Train one fold of a configuration, after the previous stage where the plan has one; then validate it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from kneeformer.config import Configuration
from kneeformer.config.settings import by
from kneeformer.data.disk import require_writable
from kneeformer.data.files import clear_unfinished
from kneeformer.engine.checkpoint import load_network, load_weights, save_checkpoint
from kneeformer.engine.log import note
from kneeformer.engine.loop import ProgressEvent, train
from kneeformer.engine.tensorboard import with_tensorboard
from kneeformer.engine.training_run import TrainingRun
from kneeformer.engine.weight_transfer import transfer
from kneeformer.errors import KneeformerError, first_few
from kneeformer.networks import ranks
from kneeformer.networks.compute import choose_device, to_device
from kneeformer.paths import FINAL, LATEST, Folders
from kneeformer.plans import Plan, override, read_dataset_plan
from kneeformer.plans.table import duration, training_hours
from kneeformer.progress import Progress
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.fold_folder import (
    clear,
    lock_fold,
    read_begun,
    read_run,
    refuse_learnt_cases,
    refuse_to_overwrite,
    reopen,
    warn_of_another_plan,
    warn_of_learnt_cases,
    write_run,
)
from kneeformer.workflows.fold_outcome import Outcome, fold_outcome
from kneeformer.workflows.fold_state import RUN, FoldState
from kneeformer.workflows.raw_data import HeldOut, cases_in_no_fold, raw_dataset, whose_cases
from kneeformer.workflows.request import Request
from kneeformer.workflows.shared_training import (
    join_training,
    of_one_rank,
    refuse_ranks,
    shared_run,
)
from kneeformer.workflows.training_cases import learning_cases, split_of
from kneeformer.workflows.warning_log import keeping_warnings

_log = logging.getLogger(__name__)


def train_fold(
    folders: Folders, request: Request, watch_training: Callable[[ProgressEvent], None], watch: Progress
) -> Outcome:
    """Train and validate one fold; its folder then holds everything that prediction needs.

    The previous stage of the plan is trained first where its fold is not trained yet, with the request's
    epochs, minutes, seed and device.

    Raises:
        KneeformerError: no such configuration or fold; the fold is finished, unfinished or being trained
            already; the data is not prepared; the loss diverged.
    """
    plan = read_dataset_plan(folders, request.dataset, request.plans)
    planned = plan.with_only(request.configuration)
    split = split_of(folders, request)
    held_out = HeldOut.of(split, whose_cases(folders, request.dataset))
    folder = request.folder(folders)
    require_writable(folder, folder / "validation")
    folder.mkdir(parents=True, exist_ok=True)
    before = _previous_stage(plan, request)
    with lock_fold(folder):
        for written in (folder, folder / "validation", folder / "validation" / "masks"):
            clear_unfinished(written)
        if before is not None and not (folder / RUN).is_file() and (before.folder(folders) / RUN).is_file():
            request = replace(request, resume=False)  # --c after a stop in the previous stage
        refuse_to_overwrite(folder, request)
        if request.validate_only or request.resume:
            refuse_learnt_cases(folder, held_out)
        with keeping_warnings(folder) as forget_earlier:
            if not request.validate_only:
                request = _prepared_request(folders, before, plan, request, held_out, watch_training, watch)
                _train(folders, folder, planned, request, forget_earlier, watch_training, watch)
            return fold_outcome(folders, folder, planned, request, split["val"], watch)


def _prepared_request(
    folders: Folders,
    before: Request | None,
    plan: Plan,
    request: Request,
    held_out: HeldOut,
    watch_training: Callable[[ProgressEvent], None],
    watch: Progress,
) -> Request:
    """The request, checked; for a new training, with the weights of the previous stage."""
    if raw_dataset(folders, request.dataset) is None:
        _log.warning(
            "%s: not found; training uses the prepared cases as they are, without whole-case validation",
            folders.raw / request.dataset,
        )
    elif unused := cases_in_no_fold(folders, request.dataset):
        _log.warning(
            "%s: %d labelled cases are in no fold of splits_final.json, so nothing learns from them: %s; add "
            "them there, or move it away and make new splits with kf_plan",
            request.dataset,
            len(unused),
            first_few(unused, 10),
        )
    if request.resume:
        return request
    if request.pretrained_weights is not None:
        warn_of_learnt_cases(request.pretrained_weights, request.dataset, held_out)
    changed = _possible(plan.with_only(request.configuration), request)
    if before is None:
        return request
    learning_cases(folders, request, changed, watch)  # faults in the data are found before that stage
    folder = before.folder(folders)
    if (folder / FINAL).is_file():
        refuse_learnt_cases(folder, held_out)
        warn_of_another_plan(folder, plan, before.configuration)
    return _after(folders, before, request, watch_training, watch)


def _possible(planned: Plan, request: Request) -> Plan:
    """The plan with the settings of the request.

    Raises:
        KneeformerError: the result is no valid plan, needs far more memory than there is, or cannot be
            trained by this number of ranks.
    """
    plan = override(planned, request.configuration, request.assignments)
    configuration = plan.configuration(request.configuration)
    task = task_named(configuration.task)
    device = choose_device(request.device, task.needs_float64)
    if device.type == "cuda":  # ranks on a CPU share its memory
        configuration = of_one_rank(configuration)
    task.refuse_too_large(plan.dataset, configuration, device)
    refuse_ranks(plan, request.configuration, ranks.size())
    return plan


def _previous_stage(plan: Plan, request: Request) -> Request | None:
    """The request for the training whose weights are loaded first; None without one."""
    configuration = plan.configuration(request.configuration)
    stage = configuration.previous_stage
    if request.pretrain_from is not None and task_named(configuration.task).needs_labels and stage is None:
        unlabelled = (n for n, c in plan.configurations.items() if not task_named(c.task).needs_labels)
        stage = next(unlabelled, None)
    if stage is None or request.no_pretraining or request.pretrained_weights is not None:
        return None
    return replace(request, configuration=stage, settings=(), subjects=None, overwrite=False)


def _after(
    folders: Folders,
    before: Request,
    request: Request,
    watch_training: Callable[[ProgressEvent], None],
    watch: Progress,
) -> Request:
    """The request with the weights of the previous stage, which is trained first if it is missing."""
    folder = before.folder(folders)
    if (folder / FINAL).is_file():
        used = read_run(folder).pretrain_from
        if request.pretrain_from not in (None, used):
            raise KneeformerError(
                f"{folder}: trained without {request.pretrain_from}; first retrain it: "
                + before.command("--overwrite", "--pretrain_from", str(request.pretrain_from))
            )
        _log.info("Weights of %s come from %s", request.configuration, folder)
    else:
        first = before.configuration
        _log.info("%s comes after %s, which is trained first", request.configuration, first)
        stopped = FoldState.of(folder) is FoldState.STOPPED
        outcome = train_fold(folders, replace(before, resume=stopped), watch_training, watch)
        _log.info("%s\n%s is trained; now %s", outcome.review, first, request.configuration)
    return replace(request, pretrained_weights=folder / FINAL)


def _train(
    folders: Folders,
    folder: Path,
    planned: Plan,
    request: Request,
    forget_warnings: Callable[[], None],
    watch_training: Callable[[ProgressEvent], None],
    watch: Progress,
) -> None:
    """Train in a fold's folder; what an earlier training left there is removed when nothing can refuse it."""
    pretrained = None
    if request.resume:
        planned, request, pretrained = read_begun(folder, request)
    plan, seed = _possible(planned, request), request.seed or 0
    configuration = plan.configuration(request.configuration)
    task = task_named(configuration.task)
    device = choose_device(request.device, task.needs_float64)
    training, validation = learning_cases(folders, request, plan, watch)
    torch.manual_seed(seed)
    build = partial(task.network, plan.dataset, configuration)
    begun = request.resume and (folder / LATEST).is_file()
    network = load_network(build, folder / LATEST) if begun else build()
    _require_space(folder, network, begun)
    if FoldState.of(folder) is FoldState.BEGUN and not request.overwrite:
        _log.info("%s: a training ended here before its first checkpoint; it starts again", folder)
    if not begun and request.pretrained_weights is not None:
        weights = load_weights(request.pretrained_weights)
        pretrained = transfer(weights, network, str(request.pretrained_weights))
        _log.info("%s: %s", request.pretrained_weights, pretrained.describe())
    (reopen if begun else clear)(folder)
    if not begun:
        forget_warnings()
    to_device(network, device)
    if not begun:
        task.begin(network, training, configuration, watch)
    learnt = {case.name for case in (*training.cases, *training.unlabelled)}
    before = read_run(folder).cases if begun else ()  # by other splits it learnt from others, too
    write_run(folder, plan, request, device, pretrained, sorted(learnt.union(before)))
    if not configuration.by_steps:
        save_checkpoint(folder / FINAL, {"network": network.state_dict()})
        cases = _cases(training, validation)
        note(folder, f"trained {request.configuration} on {device}, in closed form: {cases}")
        return
    fine_tuned = frozenset() if pretrained is None else pretrained.fine_tuned
    shared = (plan, request, folder, training, validation, fine_tuned)
    ranks.call(join_training, *shared)
    run = shared_run(network, *shared)
    start = _start(run, request.configuration, configuration, _cases(training, validation))
    note(folder, start)
    _log.info("%s", start)
    train(run, begun, with_tensorboard(folder, watch_training) if request.tensorboard else watch_training)


def _cases(training: StoredCases, validation: StoredCases) -> str:
    unlabelled = f"{len(training.unlabelled)} without labels, " if training.unlabelled else ""
    return f"{len(training.cases)} cases, {unlabelled}{len(validation.cases)} for validation"


def _start(run: TrainingRun, name: str, configuration: Configuration, cases: str) -> str:
    """A line about the training that begins: its cases, crop, batch and length."""
    settings, hours = run.settings, training_hours(configuration)
    steps = f"{by((settings.epochs, settings.steps_per_epoch))} steps"
    if hours is not None:
        steps += f", about {duration(hours)}"
    limits = [steps] if run.ends_by_epochs else []
    limits += [] if run.minutes is None else [f"{run.minutes:g} min"]
    where = str(run.device) if ranks.size() == 1 else f"{ranks.size()} x {run.device.type}"
    return (
        f"training {name} on {where}: {cases}; crop {by(settings.crop)}, batch {settings.batch_size}; "
        f"{', at most '.join(limits)}; in {run.folder}"
    )


def _require_space(folder: Path, network: nn.Module, begun: bool) -> None:
    """Raises KneeformerError: the disk has no room for the checkpoints.

    These are the best, the final and the latest one, beside the one that it replaces; the latest also holds
    averages and an optimiser twice as large as the weights.
    """
    weights = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    require_writable(folder, needed_bytes=(5 if begun else 10) * weights)
