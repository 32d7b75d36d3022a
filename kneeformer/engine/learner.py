"""The steps of a training: what every rank does alike, on its share of each batch."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from kneeformer.engine.batch import Batch, on_device
from kneeformer.engine.loss_reader import LossReader, TakenStep
from kneeformer.engine.optimiser import make_optimiser, set_rates
from kneeformer.engine.teacher import round_folder
from kneeformer.engine.training_run import TrainingRun
from kneeformer.engine.training_state import TrainingState
from kneeformer.errors import KneeformerError
from kneeformer.interrupts import ignore_interrupts
from kneeformer.networks import ranks
from kneeformer.networks.compute import autocast

_log = logging.getLogger(__name__)

_ENDLESS = 2**40


class Learner:
    """A network with its optimiser, which learns from one batch after the other.

    Attributes:
        files: all that changes along the training.
    """

    def __init__(self, run: TrainingRun, begun: Path | None, behind: int | None = None) -> None:
        """Prepare to learn.

        Args:
            begun: checkpoint to go on from.
            behind: steps whose losses may be unread; None is 1 on a GPU, which is then never waited for.
        """
        self.run = run
        self.optimiser = make_optimiser(run.network, run.settings, run.pretrained)
        self.files = TrainingState(run.network, self.optimiser, run.settings.averaged_share)
        if begun is not None:
            self.files.restore(begun, run.device)
        late = int(run.device.type == "cuda") if behind is None else behind
        self._losses = LossReader(run.folder, run.network, late)
        self._batches = self._load()

    def take_step(self, share: float) -> list[TakenStep]:
        """Learn from the next batch.

        Args:
            share: of the training that is done.

        Returns:
            The steps whose losses are known now: this one, or on a GPU the one before.

        Raises:
            KneeformerError: a loss or a gradient is not a number. The weights have not learnt from it.
        """
        run, step, network = self.run, self.files.progress.step, self.run.network
        network.train()
        rate = set_rates(self.optimiser, run.settings, step, share)
        batch = next(self._batches)
        torch.manual_seed(hash((run.seed, step)) % 2**63)
        with autocast(run.device, run.settings.precision), ranks.whole_batch(run.settings.batch_size):
            loss = run.objective.loss(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        ranks.add_gradients(network)
        norm = nn.utils.clip_grad_norm_(network.parameters(), run.settings.gradient_clip)
        broken = self._losses.add(step + 1, rate, batch, loss, norm)
        taken = self._losses.read(self._losses.behind)
        if self._losses.behind:
            self.optimiser.found_inf = broken  # type: ignore[attr-defined]  # 1: the fused update is none
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.files.take_step(step + 1)
        return taken

    def learn_from_round(self, number: int) -> None:
        """Go on with the labels of a round of the teacher."""
        self.files.progress.teacher_round = number
        self._batches = self._load()

    def finish(self) -> list[TakenStep]:
        """The steps whose losses were not read yet. Raises KneeformerError: as `take_step`."""
        return self._losses.read()

    def close(self) -> None:
        """End the processes that prepare batches."""
        del self._batches

    def _load(self) -> Iterator[Batch]:
        run, progress = self.run, self.files.progress
        training = run.training
        if run.teacher is not None and progress.teacher_round:
            folder = round_folder(run.folder, progress.teacher_round)
            if not folder.is_dir():
                _log.warning("%s: removed since; images are labelled again", folder)
                run.teacher.label(self.files.predictor.eval(), folder)
            training = run.teacher.batches(folder)
        loader = DataLoader(
            Subset(training, range(progress.step, _ENDLESS)),
            batch_size=None,
            num_workers=run.workers,
            pin_memory=run.device.type == "cuda",
            worker_init_fn=_leave_interrupts,
        )
        return _each(loader, run.device)


def _leave_interrupts(worker: int) -> None:
    """Ignore interrupts in a process that prepares batches: they reach it too, and the loop needs it.

    A forked one has the loop's handler; a new one, as on macOS, would end.
    """
    ignore_interrupts()


def _each(loader: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on a device. Of a fault in a loader process, its text without the traceback before it."""
    try:
        for batch in loader:
            yield on_device(batch, device)
    except KneeformerError as fault:
        raise KneeformerError(str(fault).rpartition("KneeformerError: ")[2].strip()) from fault


def follow(run: TrainingRun) -> None:
    """Take the steps of a training whose loop runs in the leading rank.

    Raises:
        KneeformerError: as `Learner.take_step`; or the leader has ended.
    """
    with closing(Learner(run, begun=run.folder / ranks.listen())) as learner:
        while (told := ranks.listen()) is not None:
            if isinstance(told, int):
                learner.learn_from_round(told)
            else:
                learner.take_step(told)
