"""The raw data of a planned dataset, which may be moved away once its cases are prepared. Needs no torch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from shlex import quote

from kneeformer.data.dataset import Dataset
from kneeformer.data.description import read_description
from kneeformer.data.splits import Split, fold_cases, read_splits
from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plans import Plan
from kneeformer.sides import Whose
from kneeformer.workflows.fingerprint import read_fingerprint

WhoseCase = Callable[[str], Whose]


def raw_dataset(folders: Folders, name: str) -> Dataset | None:
    """The dataset in kf_raw; None where its folder or all of its images were moved away.

    Raises:
        KneeformerError: as `refuse_duplicates`.
    """
    folder = folders.raw / name
    if not (folder / "dataset.json").is_file():
        return None
    dataset = Dataset.open(folder)
    refuse_duplicates(dataset)
    every = [*dataset.training_cases(), *dataset.unlabelled_cases()]
    return dataset if any(image.is_file() for case in every for image in case.images) else None


def refuse_duplicates(dataset: Dataset) -> None:
    """Raises KneeformerError: of two files, as K01.nii.gz and K01.nrrd, nothing tells which one is meant."""
    if lines := dataset.duplicates():
        raise KneeformerError("\n  ".join([f"{dataset.folder}: one of two files would be ignored:", *lines]))


def refuse_another_description(plan: Plan, dataset: Dataset) -> None:
    """Raises KneeformerError: dataset.json no longer says what the plan was made for.

    Its `file_ending` may differ: predictions have the plan's.
    """
    said, now = plan.dataset, dataset.description
    pairs = {
        "channel_names": (said.channel_names, now.channels),
        "labels": (said.labels, now.labels),
        "regions_class_order": (said.regions_class_order, now.regions_class_order),
    }
    changed = [f"  {key}: planned {a}, now {b}" for key, (a, b) in pairs.items() if a != b]
    if changed:
        raise KneeformerError(
            f"{dataset.folder / 'dataset.json'}: edited since {said.name} was planned; set it back, or plan "
            f"again with kf_plan_and_preprocess -d {quote(said.name)} and retrain:\n" + "\n".join(changed)
        )


def whose_cases(folders: Folders, dataset: str) -> WhoseCase:
    """A function from the name of a case to its person and side: by dataset.json, else by the fingerprint."""
    raw = folders.raw / dataset
    if (raw / "dataset.json").is_file():
        description = read_description(raw)
        return lambda name: Whose(description.subject(name), description.side(name))
    planned = read_fingerprint(folders, dataset)

    def whose(name: str) -> Whose:
        facts = planned.cases.get(name)
        return Whose(planned.subject(name), None if facts is None else facts.side)

    return whose


@dataclass(frozen=True)
class HeldOut:
    """The persons on whose cases a fold is validated."""

    persons: frozenset[str]
    whose: WhoseCase

    @classmethod
    def of(cls, split: Split, whose: WhoseCase) -> "HeldOut":
        """In the fold "all", what is watched trains as well: nobody is held out."""
        return cls(frozenset(whose(name).person for name in set(split["val"]) - set(split["train"])), whose)

    def among(self, cases: Iterable[str]) -> list[str]:
        """Those of the cases that are of these persons, sorted."""
        return sorted(case for case in cases if self.whose(case).person in self.persons)


def dataset_splits(folders: Folders, dataset: str) -> list[Split]:
    """The folds of splits_final.json, checked against the labelled cases.

    Raises:
        KneeformerError: it is missing, or anything in it is wrong: every fault, fold by fold.
    """
    return _splits_of(folders, dataset, _labelled(folders, dataset))


def cases_in_no_fold(folders: Folders, dataset: str) -> list[str]:
    """Labelled cases that no fold learns from or is validated on, as those that came after the splits.

    None where there are no splits, as of a dataset without labels.
    """
    if not (folders.preprocessed / dataset / "splits_final.json").is_file():
        return []
    labelled = _labelled(folders, dataset)
    used = fold_cases(_splits_of(folders, dataset, labelled), "fold_all")["train"]
    return sorted(set(labelled) - set(used))


def _splits_of(folders: Folders, dataset: str, labelled: Iterable[str]) -> list[Split]:
    whose = whose_cases(folders, dataset)
    file = folders.preprocessed / dataset / "splits_final.json"
    return read_splits(file, {case: whose(case).person for case in labelled})


def _labelled(folders: Folders, name: str) -> Iterable[str]:
    """Names of the labelled cases: those in kf_raw, else those of the fingerprint."""
    dataset = raw_dataset(folders, name)
    if dataset is not None:
        return [case.name for case in dataset.training_cases()]
    return read_fingerprint(folders, name).cases
