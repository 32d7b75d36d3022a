"""The score that leads a task: what its trained configurations are ranked by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LeadingScore:
    """A metric of a validated case.

    Attributes:
        title: with its unit, as a table has it.
        part: of the case's scores, such as the hidden region; None is the mean over all structures.
    """

    metric: str
    title: str
    part: str | None = None
    lower_is_better: bool = False


# Tasks that only prepare networks for others have none: theirs are not compared.
LEADING = {
    "segmentation": LeadingScore("Dice", "mean Dice"),
    "completion": LeadingScore("RMSD_mm", "RMSD of the region in mm", "region", lower_is_better=True),
}
