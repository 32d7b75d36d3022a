"""A dataset folder in the convention: dataset.json and the files of each case."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kneeformer.data.files import read_json
from kneeformer.data.image_folder import ImageFolder, composed, existing, image_folder
from kneeformer.data.images import FILE_ENDINGS, file_ending
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme, LabelValues, Side

TaskName = Literal["segmentation", "completion", "reconstruction"]

_SIDES: dict[str, Side] = {"l": "left", "left": "left", "r": "right", "right": "right"}


def _names_to_numbers(labels: Any) -> Any:
    """nnU-Net accepts {"1": "femur"} of the older convention nowhere; numbers as text it does."""
    if not isinstance(labels, dict):
        return labels
    return {k: int(v) if isinstance(v, str) and v.lstrip("-").isdigit() else v for k, v in labels.items()}


def _composed_keys(by_case: Any) -> Any:
    """Names of cases as `image_folder` has them."""
    return {composed(k): v for k, v in by_case.items()} if isinstance(by_case, dict) else by_case


class DatasetDescription(BaseModel):
    """dataset.json. Keys that kneeformer does not know are left alone, as nnU-Net leaves them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    channel_names: dict[str, str] = Field(min_length=1)
    labels: Annotated[LabelValues, BeforeValidator(_names_to_numbers)]
    file_ending: str
    task: TaskName = "segmentation"
    regions_class_order: list[int] | None = None
    subjects: Annotated[dict[str, str], BeforeValidator(_composed_keys)] = {}
    sides: Annotated[dict[str, Side], BeforeValidator(_composed_keys)] = {}
    dataset: Annotated[dict[str, dict[str, Any]] | None, BeforeValidator(_composed_keys)] = None

    @cached_property
    def scheme(self) -> LabelScheme:
        return LabelScheme.from_json(self.labels, self.regions_class_order)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in the order of their numbers."""
        return tuple(self.channel_names[k] for k in sorted(self.channel_names, key=int))

    def subject(self, case: str) -> str:
        """The person a case belongs to: `subjects` in dataset.json, else the name before a time point.

        A time point is a last part such as 00m, 12mo, V01, T2 or visit3: "9031930_36m" -> "9031930". A part
        that says a side is taken away too: "12_L" and "R_12" are both of "12". Where `subjects` knows another
        time point of that name, it is the same person.
        """
        if case in self.subjects:
            return self.subjects[case]
        name = _person(case)
        return self._subject_of_name.get(name, name)

    def side(self, case: str) -> Side | None:
        """The side of the body: `sides` in dataset.json, else a part of the name: L, R, left or right."""
        return self.sides.get(case) or side_in_name(case)

    @cached_property
    def _subject_of_name(self) -> dict[str, str]:
        return {_person(case): subject for case, subject in self.subjects.items()}


def _person(case: str) -> str:
    """A name without time point and side, whichever comes last."""
    return _without_time_point(_without_side(_without_time_point(case)))


def _without_time_point(case: str) -> str:
    match = re.fullmatch(
        r"(.+)_(?:\d+(?:m|mo|y|w|d)|(?:v|t|tp|ses-?|visit|time|bl|fu)\d*)", case, re.IGNORECASE
    )
    return match.group(1) if match else case


def side_in_name(case: str) -> Side | None:
    """What a part of a case's name says: "R_12" is right, "knee_left_2" left, "12" says nothing."""
    found = {_SIDES[part.lower()] for part in re.split(r"[_\-]", case) if part.lower() in _SIDES}
    return found.pop() if len(found) == 1 else None


def _without_side(case: str) -> str:
    parts = re.split(r"([_\-])", case)
    kept = [i for i in range(0, len(parts), 2) if parts[i].lower() not in _SIDES]
    return "".join(parts[i] if i == kept[0] else parts[i - 1] + parts[i] for i in kept) if kept else case


@dataclass(frozen=True)
class Case:
    """The files of one case: an image a channel, in order, and its label where there is one.

    Attributes:
        side: of the body, where it is told.
        other_side: the case of the same person's other side, where it was looked for and is there.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    side: Side | None = None
    other_side: "Case | None" = None

    @property
    def files(self) -> tuple[Path, ...]:
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Dataset:
    """A raw-data folder and its description."""

    folder: Path
    description: DatasetDescription

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Raises KneeformerError: dataset.json missing or wrong, every fault of it in one text."""
        file = folder / "dataset.json"
        try:
            description = DatasetDescription.model_validate(read_json(file))
        except ValidationError as faults:
            lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in faults.errors()]
            raise KneeformerError(f"{file}: not a dataset description:\n" + "\n".join(lines)) from faults
        if description.file_ending not in FILE_ENDINGS:
            raise KneeformerError(
                f"{file}: file_ending {description.file_ending!r} is not one of {', '.join(FILE_ENDINGS)}"
            )
        try:
            _ = description.scheme
            _ = description.channels
        except (KneeformerError, ValueError) as fault:
            raise KneeformerError(f"{file}: {fault}") from fault
        return cls(folder, description)

    @property
    def name(self) -> str:
        return self.folder.name

    def training_cases(self) -> list[Case]:
        """Cases of imagesTr with their labels, by name; of the `dataset` key where dataset.json has one."""
        if self.description.dataset is not None:
            listed = self.description.dataset.items()
            return [
                Case(
                    name,
                    tuple(existing(self.folder / p) for p in entry["images"]),
                    existing(self.folder / entry["label"]),
                    self.description.side(name),
                )
                for name, entry in sorted(listed)
            ]
        cases = list_cases(self.folder / "imagesTr", self.description)
        ending = self.description.file_ending
        return with_labels(cases, image_folder(self.folder / "labelsTr", ending), ending)

    def unlabelled_cases(self) -> list[Case]:
        """Cases of imagesUn, by name."""
        return list_cases(self.folder / "imagesUn", self.description)


@dataclass(frozen=True)
class CaseFolder:
    """The cases of a folder of images, by name.

    Attributes:
        not_taken: of each image file that belongs to no case, why and what to do.
        twins: a line for each channel of a case that has several files.
    """

    cases: list[Case]
    not_taken: dict[Path, str]
    twins: list[str]


def case_folder(folder: Path, description: DatasetDescription, any_ending: bool = False) -> CaseFolder:
    """The cases in a folder of images named CASE_0000.ending, a file a channel.

    Every channel that dataset.json names is listed, whether or not its file exists: the dataset
    check and the readers say which is missing. A folder that does not exist holds no cases.

    Args:
        any_ending: take images of all formats, not only those of the dataset's ending.
    """
    found = image_folder(folder, None if any_ending else description.file_ending)
    names, not_taken = set(), dict(found.not_taken)
    for stem, path in found.files.items():
        match = re.fullmatch(r"(.+)_([0-9]{4})", stem)
        if match is not None:
            names.add(match[1])
        if (fault := _channel_fault(match, path, description)) is not None:
            not_taken[path] = fault
    channels = [f"_{i:04d}" for i in range(len(description.channels))]
    cases = [
        Case(
            name,
            tuple(found.file(name + channel, description.file_ending) for channel in channels),
            side=description.side(name),
        )
        for name in sorted(names)
    ]
    twins = [found.twins[c.name + i] for c in cases for i in channels if c.name + i in found.twins]
    return CaseFolder(cases, not_taken, twins)


def list_cases(folder: Path, description: DatasetDescription) -> list[Case]:
    """The cases of `case_folder` alone."""
    return case_folder(folder, description).cases


def with_labels(cases: list[Case], found: ImageFolder, ending: str) -> list[Case]:
    """The cases with the files CASE.ending of a folder as labels, whether or not they exist."""
    return [replace(c, label=found.file(c.name, ending)) for c in cases]


def _channel_fault(match: re.Match[str] | None, path: Path, description: DatasetDescription) -> str | None:
    if match is None:
        ending = file_ending(path)
        return f"not called CASE_0000{ending} (0000 is the channel's number); rename it or take it away"
    channels = description.channels
    if int(match[2]) < len(channels):
        return None
    return (
        f"extra channel {match[2]}: dataset.json names {len(channels)} ({', '.join(channels)}); name it "
        f"there or take it away"
    )


def with_other_sides(cases: list[Case], among: list[Case], description: DatasetDescription) -> list[Case]:
    """Each case with that of the same person's other side: of several, the first by name."""
    opposite: dict[Side, Side] = {"left": "right", "right": "left"}
    found: dict[tuple[str, Side | None], Case] = {}
    for case in sorted(among, key=lambda c: c.name):
        found.setdefault((description.subject(case.name), case.side), case)
    return [
        replace(c, other_side=found.get((description.subject(c.name), opposite[c.side]))) if c.side else c
        for c in cases
    ]
