"""The folder of a fold: the lock of its training, and the record of how it was trained."""

import logging
import platform
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from kneeformer import __version__
from kneeformer.data.files import read_model, write_text
from kneeformer.engine.log import TEXT
from kneeformer.engine.tensorboard import FOLDER as TENSORBOARD
from kneeformer.engine.weight_transfer import Transfer
from kneeformer.errors import KneeformerError
from kneeformer.networks import ranks
from kneeformer.paths import BEST, FINAL, LATEST, PSEUDO_LABELS
from kneeformer.plans import Plan, override, read_fold_plan
from kneeformer.workflows.fold_state import RUN, FoldState
from kneeformer.workflows.raw_data import HeldOut
from kneeformer.workflows.request import Request


class Pretrained(BaseModel):
    """Pre-trained weights that a training began with; the lists of tensors are those of `Transfer`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    unused: tuple[str, ...]
    new: tuple[str, ...]

    def transfer(self) -> Transfer:
        return Transfer(list(self.loaded), list(self.resized), list(self.unused), list(self.new))


class Run(BaseModel):
    """Settings of a fold's training beside its plan, None where not given. Written to run.json.

    Attributes:
        cases: names of the training cases.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kneeformer: str
    torch: str
    machine: str
    started: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    minutes: Annotated[float, Field(gt=0)] | None
    set: tuple[str, ...]
    device: str
    threads: int
    processes: Annotated[int, Field(ge=1)]
    subjects: Annotated[int, Field(ge=1)] | None
    pretrain_from: str | None
    pretrained: Pretrained | None
    cases: tuple[str, ...] = ()


def lock_fold(folder: Path) -> AbstractContextManager[object]:
    """Lock a fold for this process; the system releases the lock when the process ends, also if killed.

    Raises:
        KneeformerError: another process has it.
    """
    lock = FileLock(folder / ".training.lock", timeout=0)
    try:
        return lock.acquire()
    except Timeout as fault:
        raise KneeformerError(
            f"{folder}: another kf_train is training this fold; wait for it or stop it"
        ) from fault


def refuse_to_overwrite(folder: Path, request: Request) -> None:
    """Raises KneeformerError: the request does not say what to do with the fold that is there."""
    state = FoldState.of(folder)
    finished = state is FoldState.TRAINED
    if request.validate_only:
        if not finished:
            raise KneeformerError(f"{folder}: not trained to its end; there is nothing to validate")
    elif request.resume:
        if not (folder / RUN).is_file():
            raise KneeformerError(f"{folder}: nothing to resume; start without --c")
        if finished and not (folder / LATEST).is_file():
            raise KneeformerError(
                f"{folder}: this fold is trained, and has no {LATEST}: there is nothing to resume"
            )
    elif request.overwrite:
        return
    elif finished:
        raise KneeformerError(
            f"{folder}: this fold is trained; retrain it with --overwrite, or validate with --val"
        )
    elif state is FoldState.STOPPED:
        raise KneeformerError(
            f"{folder}: a training stopped here; resume with --c, or restart with --overwrite"
        )


def refuse_learnt_cases(folder: Path, held_out: HeldOut) -> None:
    """Raises KneeformerError: the fold learnt from subjects that the present splits hold out."""
    if learnt := held_out.among(_cases(folder)):
        raise KneeformerError(
            f"{folder}: learnt from {', '.join(learnt)}, whose subjects splits_final.json holds out now; "
            f"put the former splits back, or retrain the fold with --overwrite"
        )


def warn_of_learnt_cases(weights: Path, dataset: str, held_out: HeldOut) -> None:
    """Warn where initial weights come from a fold of this dataset that learnt from subjects held out now."""
    folder = weights.parent
    if not (folder / RUN).is_file() or read_fold_plan(folder).dataset.name != dataset:
        return
    if learnt := held_out.among(_cases(folder)):
        logging.getLogger(__name__).warning(
            "%s: learnt from %s, on whose subjects this fold is validated: its scores will be too good",
            weights,
            ", ".join(learnt),
        )


def warn_of_another_plan(folder: Path, plan: Plan, name: str) -> None:
    """Warn where a trained fold has another input or network than its configuration has in a plan by now."""
    trained, planned = read_fold_plan(folder).configuration(name), plan.configuration(name)
    if trained.compatibility_key() != planned.compatibility_key():
        logging.getLogger(__name__).warning(
            "%s: trained on other input, or with another network, than %s now has for %s; move it away to "
            "train it again",
            folder,
            plan.plans_name,
            name,
        )


def _cases(folder: Path) -> tuple[str, ...]:
    """The names of the cases that a fold learnt from; an installed model does not tell them."""
    return read_run(folder).cases if (folder / RUN).is_file() else ()


def clear(folder: Path) -> None:
    """Remove what an earlier training left, so that none of it is taken for the new network's.

    Interrupted, it leaves files of one training alone.
    """
    reopen(folder)
    for part in filter(Path.is_dir, (folder / PSEUDO_LABELS, folder / TENSORBOARD)):
        shutil.rmtree(part)
    for name in (BEST, LATEST, RUN, TEXT, "training_log.jsonl", "progress.png"):
        (folder / name).unlink(missing_ok=True)


def reopen(folder: Path) -> None:
    """Remove what says that a training is finished, before it goes on: its final weights, validated."""
    if (folder / "validation").is_dir():
        shutil.rmtree(folder / "validation")
    (folder / FINAL).unlink(missing_ok=True)


def write_run(
    folder: Path,
    plan: Plan,
    request: Request,
    device: torch.device,
    pretrained: Transfer | None,
    cases: Iterable[str] = (),
) -> None:
    """Record how the fold is trained: plan.json and run.json."""
    write_text(folder / "plan.json", plan.to_text())
    taken = None
    if pretrained is not None:
        taken = Pretrained.model_validate({"file": request.pretrained_weights, **vars(pretrained)})
    run = Run(
        kneeformer=__version__,
        torch=torch.__version__,
        machine=platform.platform(),
        started=time.strftime("%Y-%m-%d %H:%M:%S"),
        seed=request.seed or 0,
        minutes=request.minutes,
        set=tuple(request.assignments),
        device=str(device),
        threads=torch.get_num_threads(),
        processes=ranks.size(),
        subjects=request.subjects,
        pretrain_from=request.pretrain_from,
        pretrained=taken,
        cases=tuple(cases),
    )
    write_text(folder / RUN, run.model_dump_json(indent=2) + "\n")


def read_run(folder: Path) -> Run:
    """Read the settings of a fold's training. Raises KneeformerError: run.json is missing or damaged."""
    return read_model(folder / RUN, Run, "retrain the fold with kf_train ... --overwrite")


def read_begun(folder: Path, request: Request) -> tuple[Plan, Request, Transfer | None]:
    """Read the plan, the request and the weight transfer of a training to resume.

    Seed, minutes and settings of the new request replace those of the first.

    Raises:
        KneeformerError: the request wants another network, or that it had begun with other weights.
    """
    plan, begun = read_fold_plan(folder), read_run(folder)
    _refuse_another_start(folder, request, begun)
    changed = override(plan, request.configuration, request.assignments)
    if changed.compatibility_key() != plan.compatibility_key():
        raise KneeformerError(
            f"{folder}: --c can change neither the network nor its input; omit --set network... and "
            f"preprocessing..., or restart with --overwrite"
        )
    pretrained = begun.pretrained
    request = replace(
        request,
        seed=begun.seed if request.seed is None else request.seed,
        minutes=request.minutes or begun.minutes,
        settings=(*begun.set, *request.settings),
        subjects=begun.subjects,
        pretrain_from=begun.pretrain_from,
        pretrained_weights=None if pretrained is None else pretrained.file,
    )
    return plan, request, None if pretrained is None else pretrained.transfer()


def _refuse_another_start(folder: Path, request: Request, begun: Run) -> None:
    file, wanted = None if begun.pretrained is None else begun.pretrained.file, request.pretrained_weights
    flags = {
        "--no_pretraining": request.no_pretraining and file is not None,
        f"-pretrained_weights {wanted}": wanted not in (None, file),
        f"--pretrain_from {request.pretrain_from}": request.pretrain_from not in (None, begun.pretrain_from),
    }
    if ignored := [flag for flag, is_ignored in flags.items() if is_ignored]:
        raise KneeformerError(
            f"{folder}: began with {file or 'random weights'}, with which --c continues: omit "
            f"{' and '.join(ignored)}, or restart with --overwrite"
        )
