"""The one training loop: steps, validation on crops, checkpoints, and resuming after a kill."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from kneeformer.config import TrainingSettings
from kneeformer.data.disk import DiskError
from kneeformer.engine.batch import Batch
from kneeformer.engine.divergence import divergence, refuse_broken_weights
from kneeformer.engine.log import TrainingLog, note, read_log
from kneeformer.engine.optimiser import make_optimiser, set_rates
from kneeformer.engine.teacher import Examination, Teacher, is_ready, pseudo_weight
from kneeformer.engine.training_state import State, TrainingState
from kneeformer.errors import KneeformerError, is_memory_short
from kneeformer.interrupts import deferred_interrupts
from kneeformer.networks.compute import autocast
from kneeformer.paths import BEST, BURN_IN, FINAL, LATEST
from kneeformer.reporting.training_curves import draw_training_curves


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
        teacher: labels images without labels; None learns from the batches as they are.
        keep_seconds: write the latest checkpoint that often within an epoch, too.
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
    teacher: Teacher | None = None
    keep_seconds: float = 120.0


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
    """Train to the end, leaving checkpoints, logs and picture in the run's folder.

    An interrupt waits for the end of a step and is raised then; a resumed training
    ends as one that was never interrupted. A kill costs the steps since the latest checkpoint.

    Raises:
        KneeformerError: loss, gradient or weights are no longer numbers; memory ran out; or there is nothing
            to resume.
    """
    try:
        return _Training(run, resume, watch).run()
    except (KneeformerError, MemoryError, RuntimeError) as fault:
        told = _memory_short(run) if is_memory_short(fault) else fault
        with suppress(DiskError):
            note(run.folder, f"ended: {told}")
        if told is fault:
            raise
        raise told from fault


def _memory_short(run: TrainingRun) -> KneeformerError:
    batch = " x ".join(map(str, (run.settings.batch_size, *run.settings.crop)))
    return KneeformerError(
        f"{run.folder}: memory ran out on {run.device}, where a batch is {batch} voxels; lower "
        f"training.batch_size or training.crop, in the plan or with --set, or train while nothing else "
        f"runs; the last checkpoint is kept"
    )


class _Training:
    def __init__(self, run: TrainingRun, resume: bool, watch: Callable[[ProgressEvent], None]) -> None:
        self.training_run, self.settings, self.watch = run, run.settings, watch
        self.network = run.network
        self.optimiser = make_optimiser(self.network, self.settings, run.pretrained)
        self.files = TrainingState(self.network, self.optimiser, self.settings.averaged_share)
        if resume:
            self.files.restore(run.folder / LATEST, run.device)
        self.state = self.files.progress
        self.log = TrainingLog(run.folder / "training_log.jsonl", self.state.step)
        self.started = time.monotonic() - self.state.seconds
        self.scores: dict[str, float] = {}
        self.losses: list[float] = []  # since the last validation
        self.drawn = self.kept = time.monotonic()
        if resume:
            self._note("resumed")

    def run(self) -> State:
        with closing(self.log), deferred_interrupts() as interrupted:
            while not self._over():
                if self._epoch(interrupted):
                    self._validate()
                self._keep()
                if interrupted():
                    self._note(f"interrupted; {LATEST} is of this step")
                    return self.state
            self._draw()
            self._save(FINAL)
            self._note(f"trained; {FINAL} is of this step")
        return self.state

    def _epoch(self, interrupted: Callable[[], bool]) -> bool:
        """The steps that the epoch still has; False where an interrupt left some undone."""
        self.network.train()
        first = self.state.step
        for step, batch in enumerate(self._batches(first), first):
            share = self._share()
            rate = set_rates(self.optimiser, self.settings, step, share)
            loss = self._step(step, batch, share)
            self.files.take_step(step + 1)
            self.state.seconds = time.monotonic() - self.started
            self.losses.append(loss)
            self.log.write({"step": step + 1, "loss": loss, "learning_rate": rate})
            self.watch(ProgressEvent(step + 1, self._share(), loss, self.state.seconds, self.scores))
            if self._over():
                break
            if self.state.step % self.settings.steps_per_epoch == 0:
                break  # it is kept once it is validated, or a resumed training would not validate it
            if interrupted():
                return False
            if time.monotonic() - self.kept >= self.training_run.keep_seconds:
                self._keep()
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

    def _step(self, step: int, batch: Batch, share: float) -> float:
        torch.manual_seed(hash((self.training_run.seed, step)) % 2**63)
        with autocast(self.training_run.device, self.settings.precision):
            if (teacher := self.training_run.teacher) is not None:
                since = None if self.state.teacher_failed else self.state.teacher_since
                weight = pseudo_weight(teacher.settings, share, since)
                batch = teacher.examples(self.files.predictor, batch, weight)
            loss = self.training_run.objective.loss(self.network, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise divergence(self.training_run.folder, "loss", step + 1, self.network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        if not math.isfinite(float(norm)):
            raise divergence(self.training_run.folder, "gradient", step + 1, self.network, batch)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return value

    @torch.no_grad()
    def _validate(self) -> None:
        refuse_broken_weights(self.training_run.folder, self.network, self.state.step)
        network = self.files.predictor.eval()
        batches = (
            self._to_device(batch) for batch in DataLoader(self.training_run.validation, batch_size=None)
        )
        with autocast(self.training_run.device, self.settings.precision):
            validation = self.training_run.objective.validate(network, batches)
            examination = self._examine(network)
        figures = {**validation.figures, **examination.figures}
        self.scores = validation.scores
        self.state.seconds = time.monotonic() - self.started
        self.log.write(
            {
                "step": self.state.step,
                "validation_loss": validation.loss,
                "scores": validation.scores,
                **({"figures": figures} if figures else {}),
                "seconds": round(self.state.seconds, 1),
            }
        )
        score = sum(self.scores.values()) / max(1, len(self.scores))
        best = score > self.state.best
        self._note(_epoch_text(self.losses, validation, score) + "; the best so far" * best)
        self.losses = []
        if best:
            self.state.best = score
            self._save(BEST)
        self._teach(score, examination.fault)

    def _examine(self, network: nn.Module) -> Examination:
        teacher = self.training_run.teacher
        return Examination() if teacher is None else teacher.examine(network)

    def _teach(self, score: float, fault: str | None) -> None:
        """End the burn-in where the network is good enough; go back where pseudo-labels have a fault."""
        run, state = self.training_run, self.state
        if run.teacher is None or state.teacher_failed:
            return
        if state.teacher_since is None:
            if fault is None and is_ready(run.teacher.settings, self._share(), score):
                state.teacher_since = self._share()
                self._save(BURN_IN)
                self._note("pseudo-labels are learnt from now on")
        elif fault is not None:
            told = (
                f"pseudo-labels have collapsed: {fault}; back to the weights before them, with labels alone"
            )
            logging.getLogger(__name__).warning("%s: after step %d %s", run.folder, state.step, told)
            self._note(told)
            self.files.restore_weights(run.folder / BURN_IN, run.device)
            state.teacher_failed = True

    def _keep(self) -> None:
        """Write the checkpoint that a resumed training begins with, and a picture now and then."""
        refuse_broken_weights(self.training_run.folder, self.network, self.state.step)
        self._save(LATEST)
        self.kept = time.monotonic()
        self._draw(every_seconds=30)

    def _note(self, text: str) -> None:
        note(self.training_run.folder, f"step {self.state.step}, {self._share():.1%}: {text}")

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
        self.files.save(self.training_run.folder / name, resumable=name in (LATEST, BURN_IN))


def _epoch_text(losses: Sequence[float], validation: Validation, score: float) -> str:
    """Losses and scores of an epoch, for people."""
    loss = f"loss {sum(losses) / len(losses):.4f}, " if losses else ""
    each = ", ".join(f"{name} {value:.3f}" for name, value in validation.scores.items())
    return f"{loss}validation loss {validation.loss:.4f}, score {score:.3f} ({each})"
