"""A training with a teacher: when it begins, its weight, its fallback; and that a kill changes nothing."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from test_loop import AVERAGED, course_of, equal, interrupted_at, killed_at, run, weights
from torch import nn

from kneeformer.config import TeacherSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.checkpoint import load_checkpoint
from kneeformer.engine.loop import train
from kneeformer.engine.teacher import Examination, is_ready, pseudo_weight
from kneeformer.engine.training_run import TrainingRun
from kneeformer.paths import BEST, BURN_IN, FINAL, LATEST

SETTINGS = TeacherSettings(burn_in=0.25, longest_burn_in=0.5, ready_at=0.5, ramp=0.25)


@pytest.mark.parametrize(
    ("share", "score", "ready"),
    [(0.2, 0.9, False), (0.25, 0.5, True), (0.4, 0.49, False), (0.5, 0.0, True)],
)
def test_the_burn_in_ends_when_the_network_is_good_and_at_half_time_at_the_latest(
    share: float, score: float, ready: bool
) -> None:
    assert is_ready(SETTINGS, share, score) is ready


def test_pseudo_labels_come_in_slowly() -> None:
    assert pseudo_weight(SETTINGS, 0.9, None) == 0
    found = [pseudo_weight(SETTINGS, share, 0.25) for share in (0.25, 0.375, 0.5, 1.0)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.5])
    assert pseudo_weight(SETTINGS.model_copy(update={"ramp": 0.0}), 0.25, 0.25) == 0.5


@dataclass
class Lenient:
    """Mixes what the averaged network says into the target, by its weight; finds the faults it is given."""

    faults: list[str | None] = field(default_factory=list)
    settings: TeacherSettings = SETTINGS
    weights: list[float] = field(default_factory=list)

    def examples(self, average: nn.Module, batch: Batch, weight: float) -> Batch:
        assert not average.training
        self.weights.append(weight)
        with torch.no_grad():
            said = average(batch["image"])
        return {**batch, "target": (1 - weight) * batch["target"] + weight * said}

    def examine(self, average: nn.Module) -> Examination:
        return Examination({"size": 1.0}, self.faults.pop(0) if self.faults else None)


def taught(folder: Path, teacher: Lenient) -> TrainingRun:
    """Four epochs of three steps; the burn-in ends with the first."""
    return run(folder, settings=AVERAGED, teacher=teacher)


def test_it_teaches_after_the_burn_in(tmp_path: Path) -> None:
    teacher = Lenient()
    state = train(taught(tmp_path, teacher))
    assert state.teacher_since == 0.25 and not state.teacher_failed
    assert teacher.weights == pytest.approx([0, 0, 0, 0, 1 / 6, 1 / 3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert [line["figures"] for line in course_of(tmp_path) if "scores" in line] == 4 * [{"size": 1.0}]


def test_kills_and_interrupts_change_nothing(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(taught(whole, Lenient()))
    interrupted_at(5, taught(stopped, Lenient()))
    killed_at(8, taught(stopped, Lenient()), resume=True)
    train(taught(stopped, Lenient()), resume=True)
    assert course_of(stopped) == course_of(whole)
    assert all(equal(weights(stopped, name), weights(whole, name)) for name in (BURN_IN, BEST, LATEST, FINAL))


def test_it_falls_back_on_the_weights_of_the_burn_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = Lenient(faults=[None, None, "all of it is background"])
    with caplog.at_level(logging.WARNING):
        state = train(taught(tmp_path / "fallen", teacher))
    assert "after step 9 pseudo-labels have collapsed: all of it is background" in caplog.text
    assert state.teacher_failed and teacher.weights[9:] == [0, 0, 0]
    latest = load_checkpoint(tmp_path / "fallen" / LATEST)
    assert latest["state"]["teacher_failed"] is True

    again = Lenient(faults=[None, None, "all of it is background"])
    interrupted_at(10, taught(tmp_path / "again", again))
    train(taught(tmp_path / "again", Lenient()), resume=True)
    assert equal(weights(tmp_path / "again"), weights(tmp_path / "fallen"))


def test_a_network_whose_labels_have_a_fault_does_not_begin_to_teach(tmp_path: Path) -> None:
    state = train(taught(tmp_path, Lenient(faults=5 * ["all of it is background"])))
    assert state.teacher_since is None and not (tmp_path / BURN_IN).exists()
