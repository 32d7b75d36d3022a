"""Comparison of configurations on the same cases: means over subjects, ratios and differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kneeformer.metrics.bootstrap import Interval, mean_interval
from kneeformer.metrics.metric import Metric
from kneeformer.metrics.score_table import ScoreTable


@dataclass(frozen=True)
class ComparedScore:
    """A mean over the subjects for which the metric is defined.

    Attributes:
        statistic: what is averaged: a subject's score, or its ratio to, or difference from, the subject's
            score with the configuration `to`.
        interval: 95 %, bootstrap over subjects; NaN with fewer than two.
    """

    configuration: str
    region: str
    metric: Metric
    interval: Interval
    subjects: int
    statistic: Literal["mean", "ratio", "difference"] = "mean"
    to: str = ""


def means(scores: Mapping[str, ScoreTable]) -> list[ComparedScore]:
    """The mean of every averaged metric, for every region of every configuration."""
    found = []
    for name, table in scores.items():
        for region in table.regions:
            for metric in table.metrics_in(region).values():
                if metric.mean is not None:
                    values = table.by_subject(metric.name, region).values()
                    found.append(ComparedScore(name, region, metric, mean_interval(values), len(values)))
    return found


def paired(
    scores: Mapping[str, ScoreTable], metric: Metric, region: str, baselines: Sequence[str]
) -> Iterator[ComparedScore]:
    """Ratio and difference of every configuration to the baselines among them, subject by subject.

    Args:
        baselines: names of configurations; those without scores are left out.
    """
    for baseline in baselines:
        if baseline not in scores:
            continue
        against = scores[baseline].by_subject(metric.name, region)
        for name, table in scores.items():
            own = table.by_subject(metric.name, region)
            pairs = [(own[subject], against[subject]) for subject in own if subject in against]
            ratios = [here / there for here, there in pairs if there > 0]
            apart = [here - there for here, there in pairs]
            yield ComparedScore(name, region, metric, mean_interval(ratios), len(ratios), "ratio", baseline)
            yield ComparedScore(
                name, region, metric, mean_interval(apart), len(apart), "difference", baseline
            )
