"""Our trained configurations beside the published figures of the knee paper, and what is still to train."""

from dataclasses import dataclass

from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.summary import read_summary, summarise
from kneeformer.paths import PLANS, Folders
from kneeformer.studies.published_scores import Trained

DECODERS = ("3d_vit", "3d_vit_linear")


@dataclass(frozen=True)
class Comparison:
    """Of one dataset.

    Attributes:
        missing: commands that would train what is not trained, in the order to run them.
    """

    trained: list[Trained]
    missing: list[str]


def compare_with_paper(folders: Folders, dataset: str) -> Comparison:
    """Find the validated folds of both decoders, of our own plan and of the paper's.

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
