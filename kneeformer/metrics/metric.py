"""The specification of a metric, declared beside the function that computes it.

Summaries, rankings, tables and reports need only the specification, so that a task can bring its own metrics.
"""

import math
from typing import Literal

from kneeformer.metrics.records import Record

BY_OVERLAP = "undefined if both masks are empty, 0 if one is"
BY_DISTANCE = "undefined if both masks are empty, the diagonal of the image if one is"
NO_VOXELS = "undefined if the region has no voxels"


class Metric(Record):
    """A metric, and what a reader of its values must know.

    Attributes:
        name: in files and tables, with the unit if it has one: HD95_mm.
        meaning: its definition in one line.
        unit: "" for ratios and counts.
        better: which of two values is better; None if neither is, as for a volume.
        empty: its value if masks are empty or the region has no voxels.
        mean: what is averaged over cases: values, absolute values (for signed errors, which would cancel), or
            None if a mean is meaningless.
        form: format of printed values.
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
        """Its name, with the unit as a word: "HD95 mm"."""
        return f"{self.name.removesuffix(f'_{self.unit}')} {self.unit}".strip()

    def averaged(self, value: float) -> float:
        """The value, or its absolute value, as it enters a mean."""
        return abs(value) if self.mean == "absolute values" else value

    def text(self, value: float) -> str:
        """The value as it is printed; "-" where it is undefined."""
        return "-" if math.isnan(value) else format(value, self.form)


Values = dict[Metric, float]
