"""The one table of scores: rows (case, structure, region, metric, value), written by any task."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kneeformer.errors import KneeformerError
from kneeformer.metrics.metric import Metric, Values

WHOLE = "whole"  # the region that is the whole image


class Part(NamedTuple):
    """A part of a case that is scored: a structure, in a region of the image."""

    structure: str
    region: str = WHOLE


class Score(NamedTuple):
    """A row of the table; the value is NaN where the metric is undefined (its empty-mask rule)."""

    case: str
    structure: str
    region: str
    metric: Metric
    value: float

    @property
    def part(self) -> Part:
        return Part(self.structure, self.region)


def rows_of(case: str, part: Part, values: Values) -> Iterator[Score]:
    """The rows of one part of a case."""
    return (Score(case, *part, metric, value) for metric, value in values.items())


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a set of cases, in the order in which tables show parts and metrics, leading ones first.

    Attributes:
        subjects: subject of each case.
        masks: digest of the mask of each case with one; only scores of equal masks can be compared.
        planes: plane of each case with thick slices, such as "sagittal".

    Raises:
        KneeformerError: there is no row, or a case has other parts than the first.
        ValueError: a case without a subject, or with other metrics than the first.
    """

    rows: tuple[Score, ...]
    subjects: Mapping[str, str]
    masks: Mapping[str, str] = field(default_factory=dict)
    planes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            raise KneeformerError("there is no case to evaluate")
        columns: dict[str, list[tuple[Part, str]]] = defaultdict(list)
        for row in self.rows:
            columns[row.case].append((row.part, row.metric.name))
        first, *_ = columns
        for case, found in columns.items():
            if case not in self.subjects:
                raise ValueError(f"case {case} has no subject")
            if apart := {part for part, _ in found} ^ {part for part, _ in columns[first]}:
                kinds = ", ".join(sorted({part.structure for part in apart}))
                raise KneeformerError(
                    f"case {case} has other scores than case {first}: {kinds} are not in both; compare "
                    f"them in separate folders"
                )
            if sorted(found) != sorted(set(columns[first])):
                raise ValueError(f"case {case} has other scores than case {first}, or one twice")

    @property
    def cases(self) -> tuple[str, ...]:
        """Sorted names."""
        return tuple(sorted({row.case for row in self.rows}))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Distinct parts, in the order of the rows."""
        return tuple(dict.fromkeys(row.part for row in self.rows))

    @property
    def regions(self) -> tuple[str, ...]:
        """Distinct regions, in the order of the rows."""
        return tuple(dict.fromkeys(row.region for row in self.rows))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metrics by name, in the order of the rows."""
        return {row.metric.name: row.metric for row in self.rows}

    def metrics_in(self, region: str) -> dict[str, Metric]:
        """Metrics of the parts in a region, by name."""
        return {row.metric.name: row.metric for row in self.rows if row.region == region}

    def by_subject(self, metric: str, region: str) -> dict[str, float]:
        """The score of each subject, sorted: the mean over its cases of the mean over structures.

        Undefined scores are left out, and so are subjects without any defined score.
        """
        of_case: dict[str, list[float]] = defaultdict(list)
        for row in self.rows:
            if (row.metric.name, row.region) == (metric, region) and not math.isnan(row.value):
                of_case[row.case].append(row.metric.averaged(row.value))
        of_subject: dict[str, list[float]] = defaultdict(list)
        for case, values in sorted(of_case.items()):
            of_subject[self.subjects[case]].append(sum(values) / len(values))
        return {subject: sum(v) / len(v) for subject, v in sorted(of_subject.items())}

    @classmethod
    def joined(cls, tables: Iterable["ScoreTable"]) -> "ScoreTable":
        """Join tables of different cases.

        Raises:
            KneeformerError: a case is in two of them.
        """
        tables = list(tables)
        counts = Counter(case for table in tables for case in table.cases)
        if twice := sorted(case for case, number in counts.items() if number > 1):
            raise KneeformerError(
                f"{', '.join(twice)}: validated in two folds, which are of different splits; retrain them"
            )
        return cls(
            tuple(row for table in tables for row in table.rows),
            {case: subject for table in tables for case, subject in table.subjects.items()},
            {case: mask for table in tables for case, mask in table.masks.items()},
            {case: plane for table in tables for case, plane in table.planes.items()},
        )
