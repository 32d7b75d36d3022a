"""progress.png is drawn at any stage of a training."""

from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread

from kneeformer.reporting.training_curves import draw_training_curves

STEPS = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in range(1, 7)]


def epochs(*scores: dict[str, float]) -> list[dict[str, object]]:
    return [{"step": 2 * n, "validation_loss": 0.5, "scores": found} for n, found in enumerate(scores, 1)]


@pytest.mark.parametrize("done", [0, 1, 3])
def test_the_picture_is_drawn_at_any_stage(tmp_path: Path, done: int) -> None:
    draw_training_curves([*STEPS, *epochs(*done * [{"femur": 0.3}])], tmp_path / "progress.png")
    assert imread(tmp_path / "progress.png").shape[:2] == (400, 1100)
    assert [p.name for p in tmp_path.iterdir()] == ["progress.png"]


def test_a_structure_that_only_some_epochs_score_is_a_line_of_its_own(tmp_path: Path) -> None:
    found = []
    for patella in ({}, {"patella": 0.2}):
        lines = epochs({"femur": 0.3}, {"femur": 0.4, **patella}, {})
        draw_training_curves([*STEPS, *lines], tmp_path / "progress.png")
        found.append(imread(tmp_path / "progress.png"))
    assert not np.array_equal(*found)
