"""The published figures of the knee paper, and our own in a table beside them."""

import math
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from kneeformer.metrics.summary import Summary
from kneeformer.reporting.score_tables import plain_text

# A self-supervised 3D vision transformer on proton-density fat-saturated knees of 320 x 320 x 36 voxels. Only
# these three are known here: not of which decoder, of which structures, nor how they were averaged.
KNEE_PAPER = {"Dice": 0.8727, "IoU": 0.8385, "Recall": 0.9290}


@dataclass(frozen=True)
class Trained:
    """A trained configuration: which of its folds were validated, and the scores of all their cases."""

    plans: str
    configuration: str
    folds: tuple[str, ...]
    summary: Summary


def comparison_table(trained: list[Trained]) -> str:
    """The published row and ours, means over structures with 95 % intervals, in 100 columns of text."""
    grid = Table(box=SIMPLE, show_edge=False, padding=0)
    grid.add_column("Model", overflow="fold")
    for title in ("Folds", "Cases", *(t for metric in KNEE_PAPER for t in (metric, "95 % CI"))):
        grid.add_column(title, justify="right", no_wrap=True)
    grid.add_row("published", "", "", *(c for value in KNEE_PAPER.values() for c in (f"{value:.4f}", "")))
    for row in trained:
        folds = ",".join(f.removeprefix("fold_") for f in row.folds)
        cells = [cell for metric in KNEE_PAPER for cell in _cells(row.summary, metric)]
        grid.add_row(f"{row.plans} {row.configuration}", folds, str(row.summary.cases), *cells)
    return plain_text(grid)


def _cells(summary: Summary, metric: str) -> tuple[str, str]:
    mean, (low, high) = summary.foreground_mean[metric], summary.foreground_mean_interval[metric]
    return (
        "-" if math.isnan(mean) else f"{mean:.4f}",
        "-" if math.isnan(low) else f"{low:.3f}-{high:.3f}",
    )
