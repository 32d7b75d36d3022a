"""Tables of scores for tests, from nested dictionaries."""

from collections.abc import Mapping

from kneeformer.metrics.metric import Metric
from kneeformer.metrics.score_table import WHOLE, Part, ScoreTable, rows_of

Structures = Mapping[str, Mapping[Metric, float]]


def table(
    cases: Mapping[str, Structures], subjects: Mapping[str, str] | None = None, region: str = WHOLE
) -> ScoreTable:
    """Case -> structure -> metric -> value, all in one region; every case is of a subject of its own."""
    rows = tuple(
        row
        for case, structures in cases.items()
        for structure, values in structures.items()
        for row in rows_of(case, Part(structure, region), dict(values))
    )
    return ScoreTable(rows, subjects or {case: case for case in cases})
