"""Trained configurations beside the published figures of the knee paper, and what is still to train."""

import math
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.summary import Summary, read_summary, summarise
from kneeformer.paths import PLANS, Folders
from kneeformer.reporting.score_tables import plain_text

DECODERS = ("3d_vit", "3d_vit_linear")

# A self-supervised 3D vision transformer on proton-density fat-saturated knees of 320 x 320 x 36 voxels. Only
# these three means are printed, without the decoder, the structures or how they were averaged.
KNEE_PAPER = {"Dice": 0.8727, "IoU": 0.8385, "Recall": 0.9290}


@dataclass(frozen=True)
class Trained:
    """A trained configuration, its validated folds, and the scores of all their cases."""

    plans: str
    configuration: str
    folds: tuple[str, ...]
    summary: Summary


@dataclass(frozen=True)
class Comparison:
    """The trained configurations of a dataset, and the missing ones.

    Attributes:
        missing: commands that train what is not trained yet, in the order to run them.
    """

    trained: list[Trained]
    missing: list[str]


def compare_with_paper(folders: Folders, dataset: str) -> Comparison:
    """Find the validated folds of both decoders, in the default plan and in the paper's.

    Args:
        dataset: full dataset name.

    Raises:
        KneeformerError: a summary cannot be read.
    """
    trained: list[Trained] = []
    missing: list[str] = []
    for planner, plans in PLANS.items():
        found = [_trained(folders, dataset, plans, configuration) for configuration in DECODERS]
        trained += [t for t in found if t is not None]
        absent = [c for c, t in zip(DECODERS, found, strict=True) if t is None]
        missing += _commands(folders, dataset, planner, plans, absent)
    return Comparison(trained, missing)


def _trained(folders: Folders, dataset: str, plans: str, configuration: str) -> Trained | None:
    summaries = sorted(folders.model(dataset, configuration, plans).glob("fold_*/validation/summary.json"))
    if not summaries:
        return None
    folds = tuple(s.parent.parent.name for s in summaries)
    pooled = ScoreTable.joined(read_summary(summary.parent).table for summary in summaries)
    return Trained(plans, configuration, folds, summarise(pooled))


def _commands(
    folders: Folders, dataset: str, planner: str, plans: str, configurations: list[str]
) -> list[str]:
    number = int(dataset[7:10])
    lines = [f"kf_train {number} {configuration} fold0 -p {plans}" for configuration in configurations]
    if lines and not folders.plan_file(dataset, plans).is_file():
        lines.insert(0, f"kf_plan_and_preprocess -d {number} -pl {planner}")
    return lines


def comparison_table(trained: list[Trained]) -> str:
    """Text of 100 columns: the published row, then ours, means over structures with 95 % intervals."""
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
