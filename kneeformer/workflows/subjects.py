"""The person and the side of each case of a dataset. Needs no torch."""

from collections.abc import Callable

from kneeformer.data.description import read_description
from kneeformer.paths import Folders
from kneeformer.sides import Whose
from kneeformer.workflows.fingerprint import read_fingerprint

WhoseCase = Callable[[str], Whose]


def whose_cases(folders: Folders, dataset: str) -> WhoseCase:
    """Return what tells whose a case is, by its name; where the raw data is not there, as it was planned."""
    raw = folders.raw / dataset
    if (raw / "dataset.json").is_file():
        description = read_description(raw)
        return lambda name: Whose(description.subject(name), description.side(name))
    planned = read_fingerprint(folders, dataset)

    def whose(name: str) -> Whose:
        facts = planned.cases.get(name)
        return Whose(planned.subject(name), None if facts is None else facts.side)

    return whose
