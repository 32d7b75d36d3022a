"""The one training loop: steps, validation on crops, checkpoints, and resuming after a kill."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from kneeformer.config import TrainingSettings
from kneeformer.engine.checkpoint import is_finite, load_checkpoint, restore, save_checkpoint
from kneeformer.engine.log import TrainingLog, read_log
from kneeformer.engine.optimiser import (
    fine_tuning_rate,
    is_frozen,
    learning_rate,
    make_optimiser,
    restore_moments,
)
from kneeformer.errors import KneeformerError, is_memory_short
from kneeformer.interrupts import deferred_interrupts
from kneeformer.networks.compute import autocast
from kneeformer.paths import BEST, FINAL, LATEST
from kneeformer.reporting.training_curves import draw_training_curves

Batch = dict[str, Tensor]  # tensors by name, each of them (b, ...)


@dataclass(frozen=True)
class Validation:
    """Mean loss, named scores in [0, 1] whose mean chooses the best checkpoint, and figures only logged."""

    loss: float
    scores: dict[str, float]
    figures: dict[str, float] = field(default_factory=dict)


class Objective(Protocol):
    """Loss and scores of a training: the only part of the loop that differs between tasks."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar loss, shape (), of a batch on the network's device."""

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        """Return loss and scores over the validation batches, each used once."""


@dataclass(frozen=True)
class TrainingRun:
    """One training: network, objective, batches, length, and folder.

    Attributes:
        training: batch of each step, by number.
        validation: the same few batches every epoch.
        minutes: end by the clock, validation crops included; None sets no limit of time.
        ends_by_epochs: end after `settings.epochs`, if the clock has not ended it before.
        workers: processes that prepare batches; 0 prepares them in this one.
        pretrained: names of parameters that were learnt elsewhere; they follow `settings.fine_tuning`.
    """

    network: nn.Module
    objective: Objective
    training: Dataset[Batch]
    validation: Dataset[Batch]
    settings: TrainingSettings
    folder: Path
    device: torch.device
    seed: int
    minutes: float | None = None
    ends_by_epochs: bool = True
    workers: int = 0
    pretrained: frozenset[str] = frozenset()


@dataclass
class State:
    """Progress of a training. Everything else follows from the number of the step."""

    step: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    best: Annotated[float, Field(allow_inf_nan=False)] = -1.0


@dataclass(frozen=True)
class ProgressEvent:
    """Event that a watcher receives after each step."""

    step: int
    share: float
    loss: float
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)


def train(
    run: TrainingRun, resume: bool = False, watch: Callable[[ProgressEvent], None] = lambda _: None
) -> State:
    """Train to the end, leaving checkpoints, log and picture in the run's folder.

    An interrupt waits for the end of a step and is raised then; a resumed training
    ends as one that was never interrupted.

    Raises:
        KneeformerError: loss, gradient or weights are no longer numbers; memory ran out; or there is nothing
            to resume.
    """
    try:
        return _Training(run, resume, watch).run()
    except (MemoryError, RuntimeError) as fault:
        if not is_memory_short(fault):
            raise
        batch = " x ".join(map(str, (run.settings.batch_size, *run.settings.crop)))
        raise KneeformerError(
            f"{run.folder}: memory ran out on {run.device}, where a batch is {batch} voxels; lower "
            f"training.batch_size or training.crop, in the plan or with --set, or train while nothing else "
            f"runs; the last checkpoint is kept"
        ) from fault


class _Training:
    def __init__(self, run: TrainingRun, resume: bool, watch: Callable[[ProgressEvent], None]) -> None:
        self.training_run, self.settings, self.watch = run, run.settings, watch
        self.network = run.network
        self.optimiser = make_optimiser(self.network, self.settings, run.pretrained)
        self.state = State()
        if resume:
            self._restore(run.folder / LATEST)
        self.log = TrainingLog(run.folder / "training_log.jsonl", self.state.step)
        self.started = time.monotonic() - self.state.seconds
        self.scores: dict[str, float] = {}
        self.drawn = time.monotonic()

    def run(self) -> State:
        with closing(self.log), deferred_interrupts() as interrupted:
            while not self._over():
                if self._epoch(interrupted):
                    self._validate()
                self._save(LATEST)
                self._draw(every_seconds=30)
                if interrupted():
                    return self.state
            self._draw()
            self._save(FINAL)
        return self.state

    def _epoch(self, interrupted: Callable[[], bool]) -> bool:
        """The steps that the epoch still has; False where an interrupt left some undone."""
        self.network.train()
        first = self.state.step
        for step, batch in enumerate(self._batches(first), first):
            share = self._share()
            rate = self._set_rates(step, share)
            loss = self._step(step, batch)
            self.state.step = step + 1
            self.state.seconds = time.monotonic() - self.started
            self.log.write({"step": step + 1, "loss": loss, "learning_rate": rate})
            self.watch(ProgressEvent(step + 1, self._share(), loss, self.state.seconds, self.scores))
            if self._over():
                break
            if interrupted() and self.state.step % self.settings.steps_per_epoch:
                return False
        return True

    def _batches(self, first: int) -> Iterable[Batch]:
        epoch = self.settings.steps_per_epoch
        steps = range(first, (first // epoch + 1) * epoch)
        loader = DataLoader(
            Subset(self.training_run.training, steps),
            batch_size=None,
            num_workers=self.training_run.workers,
            pin_memory=self.training_run.device.type == "cuda",
        )
        return (self._to_device(batch) for batch in loader)

    def _set_rates(self, step: int, share: float) -> float:
        """Learning rates of a step; what does not learn yet is left out of the backward pass.

        A network that is pre-trained as a whole waits for nothing.
        """
        groups = self.optimiser.param_groups
        waits = not all(group["pretrained"] for group in groups)
        frozen = waits and is_frozen(self.settings, step, share)
        rate = learning_rate(self.settings, step, share)
        tuned = fine_tuning_rate(self.settings, step, share, waits)
        for group in groups:
            group["lr"] = tuned if group["pretrained"] else rate
            for parameter in group["params"]:
                parameter.requires_grad_(not (frozen and group["pretrained"]))
        return rate

    def _step(self, step: int, batch: Batch) -> float:
        torch.manual_seed(hash((self.training_run.seed, step)) % 2**63)
        with autocast(self.training_run.device, self.settings.precision):
            loss = self.training_run.objective.loss(self.network, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged("loss", step, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        if not math.isfinite(float(norm)):
            raise self._diverged("gradient", step, batch)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return value

    def _diverged(self, what: str, step: int, batch: Batch) -> KneeformerError:
        """Build the error for a step whose loss or gradient is not a number, naming its cause."""
        where = f"{self.training_run.folder}: the {what} is not a number at step {step + 1}"
        lower = "lower training.learning_rate or set training.precision=fp32, then resume with --c"
        if broken := self._broken_weights():
            return KneeformerError(f"{where}: weights are not before it ({broken[0]}); {lower}")
        if unread := [key for key, part in batch.items() if not is_finite(part)]:
            return KneeformerError(
                f"{where}: its batch holds NaN or infinite values ({', '.join(unread)}), so prepared cases "
                f"do; prepare them again with kf_preprocess"
            )
        return KneeformerError(f"{where}; {lower}")

    def _broken_weights(self) -> list[str]:
        return [name for name, weights in self.network.named_parameters() if not is_finite(weights)]

    @torch.no_grad()
    def _validate(self) -> None:
        if broken := self._broken_weights():  # which no checkpoint is to hold
            step = self.state.step
            raise KneeformerError(
                f"{self.training_run.folder}: weights are not numbers after step {step} ({broken[0]}); "
                f"lower training.learning_rate, then resume with --c"
            )
        self.network.eval()
        batches = (
            self._to_device(batch) for batch in DataLoader(self.training_run.validation, batch_size=None)
        )
        with autocast(self.training_run.device, self.settings.precision):
            validation = self.training_run.objective.validate(self.network, batches)
        self.scores = validation.scores
        self.state.seconds = time.monotonic() - self.started
        self.log.write(
            {
                "step": self.state.step,
                "validation_loss": validation.loss,
                "scores": validation.scores,
                **({"figures": validation.figures} if validation.figures else {}),
                "seconds": round(self.state.seconds, 1),
            }
        )
        score = sum(self.scores.values()) / max(1, len(self.scores))
        if score > self.state.best:
            self.state.best = score
            self._save(BEST)

    def _draw(self, every_seconds: float = 0) -> None:
        if time.monotonic() - self.drawn >= every_seconds:
            draw_training_curves(read_log(self.log.file), self.training_run.folder / "progress.png")
            self.drawn = time.monotonic()

    def _share(self) -> float:
        """Share of the training that is done, from 0 to 1: of its time or of its steps, whichever is more."""
        run, shares = self.training_run, [0.0]
        if run.minutes is not None:
            shares.append((time.monotonic() - self.started) / (60 * run.minutes))
        if run.ends_by_epochs:
            steps = self.settings.epochs * self.settings.steps_per_epoch
            shares.append(self.state.step / steps if steps else 1.0)
        return min(1.0, max(shares))

    def _over(self) -> bool:
        return self._share() >= 1

    def _to_device(self, batch: Batch) -> Batch:
        return {k: v.to(self.training_run.device, non_blocking=True) for k, v in batch.items()}

    def _save(self, name: str) -> None:
        content: dict[str, Any] = {"network": self.network.state_dict(), "state": dict(vars(self.state))}
        if name == LATEST:
            content["optimiser"] = self.optimiser.state_dict()
        save_checkpoint(self.training_run.folder / name, content)

    def _restore(self, file: Path) -> None:
        checkpoint = load_checkpoint(file, self.training_run.device)
        restore(self.network, checkpoint["network"], file)
        try:
            restore_moments(self.optimiser, checkpoint.get("optimiser"))
            self.state = TypeAdapter(State).validate_python(checkpoint.get("state"))
        except ValidationError as fault:
            raise KneeformerError(
                f"{file}: does not say how far it is (state); restart with --overwrite"
            ) from fault
        except ValueError as fault:
            raise KneeformerError(f"{file}: {fault}; restart with --overwrite") from fault
