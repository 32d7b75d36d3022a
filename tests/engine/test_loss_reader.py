"""Losses read a step late, as on a GPU: the same losses and weights, and what is broken stays out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kneeformer.config import TrainingSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.learner import Learner
from kneeformer.engine.training_run import TrainingRun, Validation
from kneeformer.errors import KneeformerError


class Points(Dataset[Batch]):
    """x of a step, and the target 2 x; NaN in one step, and from then on other numbers."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, step: int) -> Batch:
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return {"x": x, "target": 2 * x * (float("nan") if step == self.broken else 1)}


class SquaredError:
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return (network(batch["x"]) - batch["target"]).square().mean()

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        raise NotImplementedError


def learner(
    folder: Path, behind: int, broken: int = -1, optimiser: Literal["adam", "adamw"] = "adamw"
) -> Learner:
    torch.manual_seed(0)
    settings = TrainingSettings(
        crop=(1, 1, 1), batch_size=4, epochs=1, steps_per_epoch=9, learning_rate=0.1, optimiser=optimiser
    )
    run = TrainingRun(
        network=nn.Linear(3, 3),
        objective=SquaredError(),
        training=Points(broken),
        validation=Points(),
        settings=settings,
        folder=folder,
        device=torch.device("cpu"),
        seed=0,
    )
    return Learner(run, None, behind)


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_twenty_losses_and_the_weights_are_the_same_a_step_late(
    tmp_path: Path, optimiser: Literal["adam", "adamw"]
) -> None:
    at_once, late = (learner(tmp_path, behind, optimiser=optimiser) for behind in (0, 1))
    read = [told for step in range(20) for told in at_once.take_step(step / 20)]
    later = [told for step in range(20) for told in late.take_step(step / 20)]
    assert [told.number for told in read] == list(range(1, 21))
    assert later == read[:19]
    assert late.finish() == read[19:]
    assert at_once.finish() == []
    pairs = zip(at_once.run.network.parameters(), late.run.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_loss_that_is_not_a_number_is_told_a_step_late_and_nothing_learns_from_it(tmp_path: Path) -> None:
    late = learner(tmp_path, 1, broken=2)
    for step in range(2):
        late.take_step(step / 9)
    before = [p.detach().clone() for p in late.run.network.parameters()]
    (told,) = late.take_step(2 / 9)
    assert told.number == 2
    assert all(torch.equal(a, b) for a, b in zip(before, late.run.network.parameters(), strict=True))
    with pytest.raises(KneeformerError, match=r"loss is not a number at step 3: its batch holds NaN.*target"):
        late.take_step(3 / 9)
    assert all(p.isfinite().all() for p in late.run.network.parameters())


def test_the_last_steps_loss_is_not_lost(tmp_path: Path) -> None:
    late = learner(tmp_path, 1, broken=0)
    assert late.take_step(0) == []
    with pytest.raises(KneeformerError, match="the loss is not a number at step 1"):
        late.finish()
