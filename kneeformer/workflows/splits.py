"""The folds of a dataset, checked against its cases. Needs no torch."""

from collections.abc import Iterable

from kneeformer.data.splits import Split, read_splits
from kneeformer.paths import Folders
from kneeformer.workflows.fingerprint import read_fingerprint
from kneeformer.workflows.prepared import raw_dataset
from kneeformer.workflows.subjects import whose_cases


def dataset_splits(folders: Folders, dataset: str) -> list[Split]:
    """The folds of splits_final.json.

    Raises:
        KneeformerError: it is missing, or anything in it is wrong: every fault, fold by fold.
    """
    cases, whose = _labelled(folders, dataset), whose_cases(folders, dataset)
    file = folders.preprocessed / dataset / "splits_final.json"
    return read_splits(file, {case: whose(case).person for case in cases})


def _labelled(folders: Folders, name: str) -> Iterable[str]:
    """The labelled cases; where the raw data was moved away, as it was planned."""
    dataset = raw_dataset(folders, name)
    if dataset is not None:
        return [case.name for case in dataset.training_cases()]
    return read_fingerprint(folders, name).cases
