"""dataset.json: what the images and labels of a dataset mean, and whose cases they are."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from kneeformer.data import nnunet_v1
from kneeformer.data.files import read_json
from kneeformer.data.image_folder import composed, first_ending
from kneeformer.data.images import READABLE_ENDINGS
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme, LabelValues
from kneeformer.sides import Side, side_in_name, without_side

_LONGEST_LINE = 2000  # characters, of a message
_EXAMPLE = '{"channel_names": {"0": "PD"}, "labels": {"background": 0, "femur": 1, "tibia": 2}}'

_TIME_POINT = re.compile(
    r"(.+)[\s._-](?:\d+(?:m|mo|y|w|d)|(?:v|t|tp|ses-?|visit|time|bl|fu)\d*)", re.IGNORECASE
)
_OF_BIDS = re.compile(r"(sub-[^\W_]+)_[a-z]+-[^\W_].*")


def _numbers(labels: Any) -> Any:
    """The values of labels as whole numbers, even if written as text or with a decimal point."""
    return {name: _number(name, v) for name, v in labels.items()} if isinstance(labels, dict) else labels


def _number(name: str, value: Any, in_list: bool = False) -> Any:
    if isinstance(value, list) and not in_list:
        return [_number(name, v, in_list=True) for v in value]
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,9}", value.strip()):
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:
        return int(value)
    raise ValueError(f"{name}: {value!r} is neither a whole number nor a list of such")


def _known_ending(ending: str) -> str:
    if ending not in READABLE_ENDINGS:
        raise ValueError(f"{ending!r} is not one of {', '.join(READABLE_ENDINGS)}")
    return ending


def _numbered(channels: dict[str, str]) -> dict[str, str]:
    wanted = [str(i) for i in range(len(channels))]
    if set(channels) != set(wanted):
        raise ValueError(
            f'numbered {", ".join(channels)}; number them {", ".join(wanted)}, as in {{"0": "PD", "1": "T2"}}'
        )
    return channels


def _composed_keys(by_case: Any) -> Any:
    """Names of cases in composed Unicode, as in `image_folder`."""
    if not isinstance(by_case, dict):
        return by_case
    found = {composed(name): value for name, value in by_case.items()}
    if len(found) < len(by_case):
        raise ValueError("two names look the same and are written in different Unicode; keep one of them")
    return found


def _encoded(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if axes not in (None, (2,), (0, 2)):
        raise ValueError(f"{list(axes or ())} is neither [2] (columns) nor [0, 2] (slices and columns)")
    return axes


def _file(name: str) -> str:
    if len(name.encode()) > 4000 or any(len(part.encode()) > 255 for part in name.split("/")):
        raise ValueError(f"{name[:40]!r}... is too long for the name of a file")
    return name


class ListedCase(BaseModel):
    """A training case of dataset.json's `dataset`: its files, from the dataset's folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    images: list[Annotated[str, AfterValidator(_file)]] = Field(min_length=1)
    label: Annotated[str, AfterValidator(_file)]


class DatasetDescription(BaseModel):
    """dataset.json. Keys that kneeformer does not know are ignored, as in nnU-Net."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    channel_names: Annotated[dict[str, str], Field(min_length=1), AfterValidator(_numbered)]
    labels: Annotated[LabelValues, BeforeValidator(_numbers)]
    file_ending: Annotated[str, AfterValidator(_known_ending)]
    task: str = "segmentation"
    regions_class_order: list[int] | None = None
    subjects: Annotated[dict[str, str], BeforeValidator(_composed_keys)] = {}
    sides: Annotated[dict[str, Side], BeforeValidator(_composed_keys)] = {}
    dataset: Annotated[dict[str, ListedCase] | None, BeforeValidator(_composed_keys)] = None
    phase_encoding_axes: Annotated[tuple[int, ...] | None, AfterValidator(_encoded)] = None

    @model_validator(mode="after")
    def _is_consistent(self) -> "DatasetDescription":
        try:
            _ = self.scheme
        except KneeformerError as fault:
            raise ValueError(str(fault)) from fault
        channels = len(self.channel_names)
        if faults := [
            f"dataset.{name}: {len(case.images)} images for {channels} channel_names; list one per channel"
            for name, case in (self.dataset or {}).items()
            if len(case.images) != channels
        ]:
            raise ValueError("\n  ".join(faults))
        return self

    @cached_property
    def scheme(self) -> LabelScheme:
        return LabelScheme.from_json(self.labels, self.regions_class_order)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in the order of their numbers."""
        return tuple(self.channel_names[k] for k in sorted(self.channel_names, key=int))

    def without_cases(self) -> "DatasetDescription":
        """The same without entries for single cases: its size does not grow with their number."""
        return DatasetDescription(**self.model_dump(exclude={"subjects", "sides", "dataset"}))

    def predicted_as(self, file_ending: str) -> "DatasetDescription":
        """The same, with the format of a plan's predictions."""
        return self.model_copy(update={"file_ending": file_ending})

    def subject(self, case: str) -> str:
        """The person a case belongs to: `subjects` in dataset.json, else the name before a time point.

        A time point is a last part such as 00m, 12mo, V01, T2 or visit3: "9031930_36m" -> "9031930". A part
        that names a side is removed too: "12_L" and "R_12" are both "12". A BIDS name contains the
        subject: "sub-01_ses-M12_T1w" -> "sub-01". Where `subjects` knows another time point of that name, it
        is the same person.
        """
        if case in self.subjects:
            return self.subjects[case]
        name = person_in_name(case)
        return self._subject_of_name.get(name, name)

    def side(self, case: str) -> Side | None:
        """The side of the body: `sides` in dataset.json, else that in the name (`side_in_name`)."""
        return self.sides.get(case) or side_in_name(case)

    @cached_property
    def _subject_of_name(self) -> dict[str, str]:
        return {person_in_name(case): subject for case, subject in self.subjects.items()}


def read_description(folder: Path) -> DatasetDescription:
    """A folder's dataset.json. Raises KneeformerError: missing or wrong, every fault of it in one text."""
    file = folder / "dataset.json"
    if not file.exists():
        raise KneeformerError(
            f"{file}: no such file; write it, with a name for each channel and structure:\n{_EXAMPLE}"
        )
    content = read_json(file)
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as fault:
        raise KneeformerError(
            f"{file}: contains half of a character pair, {fault.object[fault.start]!a}; fix it"
        ) from fault
    if (older := nnunet_v1.refusal(content, folder)) is not None:
        raise KneeformerError(f"{file}: {older}")
    if isinstance(content, dict):
        content = {"file_ending": first_ending(folder / "imagesTr"), **content}
    try:
        return DatasetDescription.model_validate(content)
    except ValidationError as faults:
        lines = "\n".join(f"  {_line(fault)}" for fault in faults.errors())
        raise KneeformerError(f"{file}: not a dataset description:\n{lines}") from faults


def _line(fault: Mapping[str, Any]) -> str:
    """A fault of dataset.json: the key, and what is wrong with it."""
    key, words = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        words = (
            f"missing; add it, as in {_EXAMPLE}" if key in ("channel_names", "labels") else "missing; add it"
        )
    line = f"{key}: {words}" if key else words
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


def person_in_name(case: str) -> str:
    """A name without time points and side; of a BIDS name, such as "sub-01_ses-M12_T1w", the subject."""
    if (match := _OF_BIDS.fullmatch(case)) is not None:
        return match[1]
    name = _without_time_points(case)
    return _without_time_points(without_side(name))


def _without_time_points(name: str) -> str:
    while (match := _TIME_POINT.fullmatch(name)) is not None:
        name = match[1]
    return name
