"""A training's events reach TensorBoard's file, and the watcher that was there."""

import sys
from pathlib import Path

import pytest

from kneeformer.engine.loop import ProgressEvent
from kneeformer.engine.tensorboard import with_tensorboard
from kneeformer.errors import KneeformerError


def test_losses_and_scores_are_written_and_events_go_on(tmp_path: Path) -> None:
    seen: list[int] = []
    watch = with_tensorboard(tmp_path, lambda event: seen.append(event.step))
    scores = {"femur": 0.5}
    for step, known in ((1, {}), (2, scores), (3, scores)):
        watch(ProgressEvent(step, step / 3, 0.1, 1.0, known))
    assert seen == [1, 2, 3]
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    assert content.count(b"loss") == 3 and content.count(b"validation/femur") == 1


def test_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(KneeformerError, match="pip install tensorboardX"):
        with_tensorboard(tmp_path, lambda _: None)
