"""The one training loop: steps, validation on crops, checkpoints, and resuming after a kill.

Where several ranks train together, the leader runs it, and the others `follow`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import DataLoader

from kneeformer.data.disk import DiskError
from kneeformer.engine.batch import on_device
from kneeformer.engine.divergence import refuse_broken_weights
from kneeformer.engine.learner import Learner
from kneeformer.engine.log import TrainingLog, note, read_log
from kneeformer.engine.loss_reader import TakenStep
from kneeformer.engine.teacher import round_folder, rounds_due
from kneeformer.engine.training_run import TrainingRun, Validation
from kneeformer.engine.training_state import State
from kneeformer.errors import KneeformerError, is_memory_short
from kneeformer.interrupts import deferred_interrupts
from kneeformer.networks import ranks
from kneeformer.networks.compute import autocast
from kneeformer.paths import BEST, FINAL, LATEST
from kneeformer.reporting.training_curves import draw_training_curves


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

    An interrupt is raised at the end of a step; a resumed training ends exactly as one that was never
    interrupted. A kill costs the steps since the latest checkpoint.

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
        self.learner = Learner(run, run.folder / LATEST if resume else None)
        self.files, self.state = self.learner.files, self.learner.files.progress
        self.log = TrainingLog(run.folder / "training_log.jsonl", self.state.step)
        self.started = time.monotonic() - self.state.seconds
        self.scores: dict[str, float] = {}
        self.losses: list[float] = []  # since the last validation
        self.drawn = self.kept = time.monotonic()
        if resume:
            self._note("resumed")

    def run(self) -> State:
        with (
            closing(self.log),
            closing(self.learner),
            deferred_interrupts() as interrupted,
            self._followers(),
        ):
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
        """Take the remaining steps of the epoch; False if an interrupt left some undone."""
        while True:
            self._report(self._step())
            if self._over():
                break
            if self.state.step % self.settings.steps_per_epoch == 0:
                break  # it is saved after validation, or a resumed training would not validate it
            if interrupted():
                return False
            if time.monotonic() - self.kept >= self.training_run.keep_seconds:
                self._keep()
        return True

    def _report(self, taken: Iterable[TakenStep]) -> None:
        self.state.seconds = time.monotonic() - self.started
        for step in taken:
            self.losses.append(step.loss)
            self.log.write({"step": step.number, "loss": step.loss, "learning_rate": step.rate})
            self.watch(ProgressEvent(step.number, self._share(), step.loss, self.state.seconds, self.scores))

    @contextmanager
    def _followers(self) -> Iterator[None]:
        """Within the block, the other ranks `follow`."""
        if ranks.size() > 1:
            self._save(LATEST)
            ranks.tell(LATEST)
        yield
        ranks.tell(None)

    def _step(self) -> list[TakenStep]:
        """Take a step, in all ranks by this one's clock; return the steps whose losses are known now."""
        share = self._share()
        ranks.tell(share)
        return self.learner.take_step(share)

    @torch.no_grad()
    def _validate(self) -> None:
        self._report(self.learner.finish())
        refuse_broken_weights(self.training_run.folder, self.network, self.state.step)
        network = self.files.predictor.eval()
        batches = (
            on_device(batch, self.training_run.device)
            for batch in DataLoader(self.training_run.validation, batch_size=None)
        )
        with autocast(self.training_run.device, self.settings.precision):
            validation = self.training_run.objective.validate(network, batches)
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
        best = score > self.state.best
        self._note(_epoch_text(self.losses, validation, score) + "; the best so far" * best)
        self.losses = []
        if best:
            self.state.best = score
            self._save(BEST)
        self._teach(network)

    def _teach(self, average: nn.Module) -> None:
        """Have images labelled if that is due, and continue with their labels."""
        run, teacher = self.training_run, self.training_run.teacher
        number = 0 if teacher is None else rounds_due(teacher.rounds, self._share())
        if teacher is None or number <= self.state.teacher_round:
            return
        labelling = teacher.label(average, round_folder(run.folder, number))
        if labelling.fault is None:
            figures = (f"{name} {value:.3g}" for name, value in labelling.figures.items())
            told = f"images were labelled: {', '.join(figures)}"
        else:
            told = f"labels alone are used: {labelling.fault}"
            logging.getLogger(__name__).warning("%s: %s", run.folder, told)
        self._note(told)
        ranks.tell(number)
        self.learner.learn_from_round(number)

    def _keep(self) -> None:
        """Write the checkpoint from which a training is resumed, and now and then a picture."""
        self._report(self.learner.finish())
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
        """Share of the training that is done, from 0 to 1: by time or by steps, whichever is larger."""
        run, shares = self.training_run, [0.0]
        if run.minutes is not None:
            shares.append((time.monotonic() - self.started) / (60 * run.minutes))
        if run.ends_by_epochs:
            steps = self.settings.epochs * self.settings.steps_per_epoch
            shares.append(self.state.step / steps if steps else 1.0)
        return min(1.0, max(shares))

    def _over(self) -> bool:
        return self._share() >= 1

    def _save(self, name: str) -> None:
        self.files.save(self.training_run.folder / name, resumable=name == LATEST)


def _epoch_text(losses: Sequence[float], validation: Validation, score: float) -> str:
    """Losses and scores of an epoch, for people."""
    loss = f"loss {sum(losses) / len(losses):.4f}, " if losses else ""
    each = ", ".join(f"{name} {value:.3f}" for name, value in validation.scores.items())
    return f"{loss}validation loss {validation.loss:.4f}, score {score:.3f} ({each})"
