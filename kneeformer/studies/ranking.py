"""Configurations ranked by the leading score of their task, on the same subjects."""

from collections.abc import Mapping, Sequence

from kneeformer.errors import KneeformerError
from kneeformer.metrics.bootstrap import Interval, caution, mean_interval
from kneeformer.metrics.records import Number, Record
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.reporting.comparison_tables import interval_text, markdown
from kneeformer.tasks.evaluation import LeadingScore


class Estimate(Record):
    """A mean over subjects and its 95 % bootstrap interval, which is NaN with fewer than two subjects."""

    mean: Number
    low: Number
    high: Number

    @property
    def interval(self) -> Interval:
        return Interval(self.mean, self.low, self.high)

    @property
    def significant(self) -> bool:
        """True for a difference whose interval excludes 0."""
        return self.low > 0 or self.high < 0


class Ranked(Record):
    """One configuration.

    Attributes:
        difference: to the best one, over the same subjects; None for the best itself.
        subjects: mean score over the cases of each subject.
    """

    configuration: str
    score: Estimate
    difference: Estimate | None
    subjects: dict[str, float]


def rank(scores: Mapping[str, ScoreTable], leading: LeadingScore) -> list[Ranked]:
    """Rank configurations, the best first; equal ones keep their order.

    A subject counts once, and only if its score is defined in every configuration.

    Args:
        scores: of the same cases for each configuration.

    Raises:
        KneeformerError: there is no such subject.
    """
    found = {name: t.by_subject(leading.metric.name, leading.region) for name, t in scores.items()}
    shared = sorted(set.intersection(*(set(subjects) for subjects in found.values())))
    if not shared:
        raise KneeformerError(f"{leading.metric.name} is defined in no subject for all of {', '.join(found)}")
    means = {name: sum(subjects[s] for s in shared) for name, subjects in found.items()}
    order = sorted(found, key=lambda name: means[name] if leading.lower_is_better else -means[name])
    best = found[order[0]]
    return [
        Ranked(
            configuration=name,
            score=_estimate([found[name][s] for s in shared]),
            difference=_estimate([found[name][s] - best[s] for s in shared]) if name != order[0] else None,
            subjects={s: found[name][s] for s in shared},
        )
        for name in order
    ]


def ranking_table(ranking: Sequence[Ranked], leading: LeadingScore, folds: Sequence[int], cases: int) -> str:
    """A Markdown table with one row per configuration, and the conclusion."""
    best, *others = ranking
    where = (" ".join(map(str, folds)), str(cases))
    titles = (f"{leading.title} (95 % CI)", f"difference to {best.configuration} (95 % CI)")
    rows = [[best.configuration, *where, interval_text(best.score.interval, ".4f"), ""]]
    for row in others:
        assert row.difference is not None
        cells = (interval_text(row.score.interval, ".4f"), interval_text(row.difference.interval, "+.4f"))
        rows.append([row.configuration, *where, *cells])
    table = markdown(["configuration", "folds", "cases", *titles], rows)
    return "\n".join([table, "", *_conclusion(best, others, leading)])


def _conclusion(best: Ranked, others: Sequence[Ranked], leading: LeadingScore) -> list[str]:
    subjects = len(best.subjects)
    order = "lower is better" if leading.lower_is_better else "higher is better"
    if not others:
        return [f"{best.configuration} is the only one: there is nothing to compare it with."]
    if subjects < 2:
        return [f"One subject, {order}: significance cannot be estimated."]
    basis = (
        f"Means over {subjects} subjects, {order}; intervals by bootstrap over subjects, differences paired."
    )
    if few := caution(subjects):
        basis += f" {few}."
    equal = [row.configuration for row in others if row.difference and not row.difference.significant]
    if not equal:
        return [
            basis,
            f"{best.configuration} is significantly better than all others: no interval includes 0.",
        ]
    return [
        basis,
        f"{best.configuration} is not significantly better than {', '.join(equal)}: the interval of the "
        f"difference includes 0. Of these, take the one that is cheapest to run.",
    ]


def _estimate(values: Sequence[float]) -> Estimate:
    return Estimate(**mean_interval(values)._asdict())
