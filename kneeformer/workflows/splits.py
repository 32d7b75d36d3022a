"""The folds of a dataset, checked against its cases. Needs no torch."""

from collections.abc import Mapping
from shlex import quote

from kneeformer.data.files import read_model
from kneeformer.data.splits import Split, read_splits
from kneeformer.paths import Folders
from kneeformer.planning.fingerprint import Fingerprint
from kneeformer.workflows.prepared import raw_dataset


def dataset_splits(folders: Folders, dataset: str) -> list[Split]:
    """The folds of splits_final.json.

    Raises:
        KneeformerError: it is missing, or anything in it is wrong: every fault, fold by fold.
    """
    return read_splits(folders.preprocessed / dataset / "splits_final.json", _subjects(folders, dataset))


def _subjects(folders: Folders, name: str) -> Mapping[str, str]:
    """The subject of each labelled case; where the raw data was moved away, every planned case is one."""
    dataset = raw_dataset(folders, name)
    if dataset is not None:
        return {case.name: dataset.description.subject(case.name) for case in dataset.training_cases()}
    file = folders.preprocessed / name / "dataset_fingerprint.json"
    planned = read_model(file, Fingerprint, f"restore {folders.raw / name} and type kf_plan -d {quote(name)}")
    return {case: case for case in planned.cases}
