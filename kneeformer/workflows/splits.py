"""The folds of a dataset, checked against its cases. Needs no torch."""

from collections.abc import Mapping

from kneeformer.data.splits import Split, read_splits
from kneeformer.paths import Folders
from kneeformer.workflows.fingerprint import read_fingerprint
from kneeformer.workflows.prepared import raw_dataset


def dataset_splits(folders: Folders, dataset: str) -> list[Split]:
    """The folds of splits_final.json.

    Raises:
        KneeformerError: it is missing, or anything in it is wrong: every fault, fold by fold.
    """
    return read_splits(folders.preprocessed / dataset / "splits_final.json", _subjects(folders, dataset))


def _subjects(folders: Folders, name: str) -> Mapping[str, str]:
    """The subject of each labelled case; where the raw data was moved away, as it was planned."""
    dataset = raw_dataset(folders, name)
    if dataset is not None:
        return {case.name: dataset.description.subject(case.name) for case in dataset.training_cases()}
    planned = read_fingerprint(folders, name)
    return {case: planned.subject(case) for case in planned.cases}
