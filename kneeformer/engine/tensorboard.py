"""A training in TensorBoard: the same values as in its log, per step and per epoch."""

from collections.abc import Callable
from pathlib import Path

from kneeformer.engine.loop import ProgressEvent
from kneeformer.errors import KneeformerError

FOLDER = "tensorboard"


def with_tensorboard(folder: Path, watch: Callable[[ProgressEvent], None]) -> Callable[[ProgressEvent], None]:
    """Return a watcher that writes loss and scores to folder/tensorboard, and calls `watch`.

    Raises:
        KneeformerError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as fault:
        raise KneeformerError(
            "--tensorboard: tensorboardX is not installed; type\n    pip install tensorboardX"
        ) from fault
    writer, shown = SummaryWriter(str(folder / FOLDER), flush_secs=30), dict[str, float]()

    def write(event: ProgressEvent) -> None:
        nonlocal shown
        writer.add_scalar("loss", event.loss, event.step)
        if event.scores is not shown:  # of a new epoch
            shown = event.scores
            for name, score in event.scores.items():
                writer.add_scalar(f"validation/{name}", score, event.step)
        if event.share >= 1:
            writer.close()
        watch(event)

    return write
