"""The specification of a metric, declared beside the function that computes it.

Summaries, rankings, tables and reports learn from the specification all that they need, so that a task may
bring metrics that nobody else knows.
"""

import math
from typing import Literal

from kneeformer.metrics.records import Record

BY_OVERLAP = "undefined if both masks are empty, 0 if one is"
BY_DISTANCE = "undefined if both masks are empty, the diagonal of the image if one is"
NO_VOXELS = "undefined if the region has no voxels"


class Metric(Record):
    """A metric, and all that a reader of its values must know.

    Attributes:
        name: in files and tables, with the unit where it has one: HD95_mm.
        meaning: its definition in a line.
        unit: "" of ratios and counts.
        better: which of two values is better; None where neither is, as of a volume.
        empty: what it is where masks are empty, or the region has no voxels.
        mean: over cases: of the values, of their absolute values (of a signed error, where those of both
            signs would cancel), or None where a mean says nothing.
        form: how a value is printed, as `format` takes it.
    """

    name: str
    meaning: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    empty: str = "defined"
    mean: Literal["values", "absolute values"] | None = "values"
    form: str = ".3f"

    @property
    def title(self) -> str:
        """Its name, with the unit apart: "HD95 mm"."""
        return f"{self.name.removesuffix(f'_{self.unit}')} {self.unit}".strip()

    def averaged(self, value: float) -> float:
        """The value, or its absolute value, as it enters a mean."""
        return abs(value) if self.mean == "absolute values" else value

    def text(self, value: float) -> str:
        """The value as it is printed; "-" where it is undefined."""
        return "-" if math.isnan(value) else format(value, self.form)


Values = dict[Metric, float]
