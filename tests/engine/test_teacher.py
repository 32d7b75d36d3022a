"""A training with a teacher: when it labels, what is learnt from then on; and that a kill changes nothing."""

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from test_loop import AVERAGED, Noise, course_of, equal, interrupted_at, killed_at, run, weights
from torch import nn
from torch.utils.data import Dataset

from kneeformer.engine.batch import Batch
from kneeformer.engine.loop import train
from kneeformer.engine.teacher import Labelling, round_folder, rounds_due
from kneeformer.engine.training_run import TrainingRun
from kneeformer.paths import BEST, FINAL, LATEST

ROUNDS = (0.25, 0.6)


@pytest.mark.parametrize(("share", "rounds"), [(0.2, 0), (0.25, 1), (0.59, 1), (0.75, 2), (1.0, 0)])
def test_a_round_is_due_after_its_part_of_the_training_but_not_at_the_end(share: float, rounds: int) -> None:
    assert rounds_due(ROUNDS, share) == rounds


class Shifted(Dataset[Batch]):
    """Batches whose target is moved by what the folder says."""

    def __init__(self, shift: float) -> None:
        self.noise, self.shift = Noise(10_000), shift

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, step: int) -> Batch:
        batch = self.noise[step]
        return {**batch, "target": batch["target"] + self.shift}


@dataclass
class Said:
    """Its label is a number: the mean answer of the averaged network, written to a file."""

    fault: str | None = None
    rounds: tuple[float, ...] = ROUNDS
    read: list[str] = field(default_factory=list)

    def label(self, average: nn.Module, folder: Path) -> Labelling:
        assert not average.training
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "label").write_text(str(float(average(torch.ones(1, 1, 2, 4, 4)).mean())), encoding="utf-8")
        return Labelling({"images": 1}, self.fault)

    def batches(self, folder: Path) -> Dataset[Batch]:
        self.read.append(folder.name)
        return Shifted(float((folder / "label").read_text(encoding="utf-8")))


def taught(folder: Path, teacher: Said) -> TrainingRun:
    """Four epochs of three steps: rounds after the first and the third."""
    return run(folder, settings=AVERAGED, teacher=teacher)


def test_it_labels_after_each_part_and_its_latest_labels_are_learnt_from(tmp_path: Path) -> None:
    teacher = Said()
    state = train(taught(tmp_path, teacher))
    assert state.teacher_round == 2 and teacher.read == ["round_1", "round_2"]
    first, second = ((round_folder(tmp_path, n) / "label").read_text(encoding="utf-8") for n in (1, 2))
    assert first != second
    train(run(tmp_path / "alone", settings=AVERAGED))
    lines, alone = course_of(tmp_path), course_of(tmp_path / "alone")
    assert lines[:4] == alone[:4] and lines[4] != alone[4], "three steps and a validation are of labels alone"


def test_kills_and_interrupts_change_nothing(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(taught(whole, Said()))
    interrupted_at(5, taught(stopped, Said()))
    killed_at(8, taught(stopped, Said()), resume=True)
    train(taught(stopped, Said()), resume=True)
    assert course_of(stopped) == course_of(whole)
    assert all(equal(weights(stopped, name), weights(whole, name)) for name in (BEST, LATEST, FINAL))


def test_labels_that_were_removed_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted_at(5, taught(tmp_path, Said()))
    shutil.rmtree(round_folder(tmp_path, 1))
    teacher = Said()
    with caplog.at_level(logging.WARNING):
        train(taught(tmp_path, teacher), resume=True)
    assert teacher.read == ["round_1", "round_2"]
    assert caplog.messages == [f"{round_folder(tmp_path, 1)}: removed since; images are labelled again"]


def test_labels_of_no_use_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(taught(tmp_path, Said(fault="all of it is background")))
    assert "labels alone are used: all of it is background" in caplog.text
