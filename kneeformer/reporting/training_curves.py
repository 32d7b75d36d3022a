"""The curves of a training: progress.png, and the chart of the report."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kneeformer.data.files import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (11, 4)  # inches, at DOTS_PER_INCH
DOTS_PER_INCH = 100


def draw_training_curves(lines: list[dict[str, Any]], picture: Path) -> None:
    """Draw loss, scores of validation crops and learning rate against steps, from the lines of a log.

    It is drawn many times during a training, so its layout is fixed: fitting it to the texts would double
    the time.
    """
    with written_whole(picture) as beside:
        _curves(lines).savefig(beside, format="png")


def training_curves_svg(lines: list[dict[str, Any]]) -> str:
    """The same curves as SVG, without a background and with black as the colour of the surrounding text."""
    from matplotlib import rc_context

    figure, text = _curves(lines), io.StringIO()
    for axes in figure.axes:
        if (legend := axes.get_legend()) is not None:
            legend.get_frame().set_alpha(0)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kneeformer"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
    return drawn.replace("#cccccc", "#8a8f98")  # the rate, behind the scores on either paper


def _curves(lines: list[dict[str, Any]]) -> "Figure":
    from matplotlib.figure import Figure

    steps = [line for line in lines if "loss" in line]
    epochs = [line for line in lines if "validation_loss" in line]
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH)
    figure.subplots_adjust(left=0.07, right=0.92, bottom=0.13, top=0.92, wspace=0.22)
    losses, scores = figure.subplots(1, 2)
    at = [line["step"] for line in steps]
    losses.plot(at, _running_mean([line["loss"] for line in steps]), label="training (running mean)")
    epoch_at = [line["step"] for line in epochs]
    losses.plot(epoch_at, [line["validation_loss"] for line in epochs], "o-", ms=3, label="validation crops")
    losses.set(xlabel="step", ylabel="loss", title="Loss")
    losses.legend(loc="upper right")
    for name in dict.fromkeys(name for line in epochs for name in line["scores"]):
        scored = [(line["step"], line["scores"][name]) for line in epochs if name in line["scores"]]
        scores.plot(*zip(*scored, strict=True), "o-", ms=3, label=name)
    scores.set(xlabel="step", ylabel="score", title="Validation crops", ylim=(0, 1))
    if epochs:
        scores.legend(fontsize=8, loc="lower right")
    rate = scores.twinx()
    rate.plot(at, [line["learning_rate"] for line in steps], color="0.8", lw=1)
    scores.set(zorder=rate.get_zorder() + 1, frame_on=False)  # scores and their legend before the rate
    rate.set_ylabel("learning rate", color="0.6")
    rate.set_ylim(bottom=0)
    return figure


def _running_mean(values: list[float], weight: float = 0.9) -> list[float]:
    """The exponential running mean: the earlier mean has `weight`, each new value the rest."""
    smoothed: list[float] = []
    for value in values:
        smoothed.append(value if not smoothed else weight * smoothed[-1] + (1 - weight) * value)
    return smoothed
