"""The steps of a training: what every rank does alike, on its share of each batch."""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from kneeformer.engine.batch import Batch, on_device
from kneeformer.engine.divergence import divergence
from kneeformer.engine.optimiser import make_optimiser, set_rates
from kneeformer.engine.training_run import TrainingRun
from kneeformer.engine.training_state import TrainingState
from kneeformer.networks import ranks
from kneeformer.networks.compute import autocast

_ENDLESS = 2**40


class Learner:
    """A network with its optimiser, which learns from one batch after the other.

    Attributes:
        files: all that changes along the training.
    """

    def __init__(self, run: TrainingRun, begun: Path | None) -> None:
        """`begun` is a checkpoint to go on from."""
        self.run = run
        self.optimiser = make_optimiser(run.network, run.settings, run.pretrained)
        self.files = TrainingState(run.network, self.optimiser, run.settings.averaged_share)
        if begun is not None:
            self.files.restore(begun, run.device)
        self._batches = self._load(self.files.progress.step)

    def take_step(self, share: float, pseudo_weight: float) -> tuple[float, float]:
        """Learn from the next batch.

        Args:
            share: of the training that is done.
            pseudo_weight: of a teacher's labels, if there is one.

        Returns:
            Loss and learning rate.

        Raises:
            KneeformerError: the loss or the gradient is not a number.
        """
        run, step, network = self.run, self.files.progress.step, self.run.network
        network.train()
        rate = set_rates(self.optimiser, run.settings, step, share)
        batch = next(self._batches)
        torch.manual_seed(hash((run.seed, step)) % 2**63)
        with autocast(run.device, run.settings.precision), ranks.whole_batch(run.settings.batch_size):
            if run.teacher is not None:
                batch = run.teacher.examples(self.files.predictor, batch, pseudo_weight)
            loss = run.objective.loss(network, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise divergence(run.folder, "loss", step + 1, network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        ranks.add_gradients(network)
        norm = nn.utils.clip_grad_norm_(network.parameters(), run.settings.gradient_clip)
        if not math.isfinite(float(norm)):
            raise divergence(run.folder, "gradient", step + 1, network, batch)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.files.take_step(step + 1)
        return value, rate

    def close(self) -> None:
        """End the processes that prepare batches."""
        del self._batches

    def _load(self, first: int) -> Iterator[Batch]:
        loader = DataLoader(
            Subset(self.run.training, range(first, _ENDLESS)),
            batch_size=None,
            num_workers=self.run.workers,
            pin_memory=self.run.device.type == "cuda",
        )
        return (on_device(batch, self.run.device) for batch in loader)


def follow(run: TrainingRun) -> None:
    """Take the steps of a training whose loop runs in the leading rank.

    Raises:
        KneeformerError: as `Learner.take_step`; or the leader has ended.
    """
    with closing(Learner(run, begun=run.folder / ranks.listen())) as learner:
        while (told := ranks.listen()) is not None:
            if isinstance(told, str):  # a checkpoint, to whose weights the leader goes back
                learner.files.restore_weights(run.folder / told, run.device)
            else:
                share, pseudo_weight = told
                learner.take_step(share, pseudo_weight)
