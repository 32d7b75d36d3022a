"""A dataset folder in the convention: dataset.json and the files of each case."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from kneeformer.data.description import DatasetDescription, read_description
from kneeformer.data.image_folder import ImageFolder, existing, image_folder
from kneeformer.data.images import FILE_ENDINGS, KSPACE_ENDINGS, READABLE_ENDINGS, file_ending
from kneeformer.sides import Side

_FIRST = "_0000"  # the number of the first channel


@dataclass(frozen=True)
class Case:
    """The files of one case.

    Attributes:
        images: one per channel, in order.
        label: the reference segmentation, where there is one.
        side: of the body, if known.
        other_side: the case of the same person's other side, if it was looked for and exists.
        mask: bone to keep and region to complete, for a task that requires one.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    side: Side | None = None
    other_side: "Case | None" = None
    mask: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them, those of the other side too."""
        beside = [file for file in (self.label, self.mask) if file is not None]
        return (*self.images, *beside, *(() if self.other_side is None else self.other_side.files))


@dataclass(frozen=True)
class Dataset:
    """A raw-data folder and its description."""

    folder: Path
    description: DatasetDescription

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Raises KneeformerError: dataset.json missing or wrong, every fault of it in one text."""
        return cls(folder, read_description(folder))

    @property
    def name(self) -> str:
        return self.folder.name

    def training_cases(self) -> list[Case]:
        """Cases of imagesTr with their labels, by name; those of dataset.json's `dataset` key if it has one.

        Without `labels` in dataset.json no case has any.
        """
        if self.description.dataset is not None:
            listed: dict[Path, dict[str, Path]] = {}
            return [
                Case(
                    name,
                    tuple(existing(self.folder / p, listed) for p in entry.images),
                    existing(self.folder / entry.label, listed),
                    self.description.side(name),
                )
                for name, entry in sorted(self.description.dataset.items())
            ]
        cases = list_cases(self.folder / "imagesTr", self.description)
        if not self.description.labels:
            return cases
        return with_labels(cases, image_folder(self.folder / "labelsTr"), self.description.file_ending)

    def unlabelled_cases(self) -> list[Case]:
        """Cases of imagesUn, by name."""
        return list_cases(self.folder / "imagesUn", self.description)

    def duplicates(self) -> list[str]:
        """A line for each image or label with two files, of which only the first by name is read."""
        lines = case_folder(self.folder / "imagesUn", self.description).duplicates
        if self.description.dataset is not None:
            return lines
        images = case_folder(self.folder / "imagesTr", self.description).duplicates
        return [*images, *image_folder(self.folder / "labelsTr").duplicates.values(), *lines]


@dataclass(frozen=True)
class CaseFolder:
    """The cases of a folder of images, by name.

    Attributes:
        ignored: of each image file that belongs to no case, why and what to do.
        duplicates: a line for each channel of a case that has several files.
    """

    cases: list[Case]
    ignored: dict[Path, str]
    duplicates: list[str]


def case_folder(folder: Path, description: DatasetDescription) -> CaseFolder:
    """The cases in a folder of images named CASE_0000.ending, one file per channel, of any format.

    With one channel, all may be named CASE.ending instead; k-space files may be, beside others.

    Every channel that dataset.json names is listed, whether or not its file exists: the dataset
    check and the readers say which is missing. A folder that does not exist holds no cases.
    """
    ending = description.file_ending
    known = READABLE_ENDINGS if ending in KSPACE_ENDINGS else FILE_ENDINGS
    found = _numbered(image_folder(folder, known, holds_scans=True), len(description.channels))
    names, ignored = set(), dict(found.ignored)
    for stem, path in found.files.items():
        match = re.fullmatch(r"(.+)_([0-9]{4})", stem)
        if match is not None:
            names.add(match[1])
        if (fault := _channel_fault(match, path, description)) is not None:
            ignored[path] = fault
    channels = [f"_{i:04d}" for i in range(len(description.channels))]
    cases = [
        Case(
            name,
            tuple(found.file(name + channel, ending) for channel in channels),
            side=description.side(name),
        )
        for name in sorted(names)
    ]
    duplicates = [
        found.duplicates[c.name + i] for c in cases for i in channels if c.name + i in found.duplicates
    ]
    return CaseFolder(cases, ignored, duplicates)


def is_named_as_scan(image: Path) -> bool:
    """True of CASE_0000 and of k-space; False of CASE, as label maps and predictions are called too."""
    ending = file_ending(image)
    return ending in KSPACE_ENDINGS or image.name[: -len(ending)].endswith(_FIRST)


def list_cases(folder: Path, description: DatasetDescription) -> list[Case]:
    """The cases of `case_folder` alone."""
    return case_folder(folder, description).cases


def with_masks(cases: list[Case], found: ImageFolder, ending: str) -> list[Case]:
    """The cases with the files CASE.ending of a folder as masks, whether or not they exist."""
    return [replace(c, mask=found.file(c.name, ending)) for c in cases]


def with_labels(cases: list[Case], found: ImageFolder, ending: str) -> list[Case]:
    """The cases with the files CASE.ending of a folder as labels, whether or not they exist."""
    return [replace(c, label=found.file(c.name, ending)) for c in cases]


def _numbered(found: ImageFolder, channels: int) -> ImageFolder:
    """The same files by numbered names: k-space called CASE, which holds all channels, under CASE_0000; with
    one channel, all files if none is called CASE_0000.
    """
    named: dict[str, Path] = {}
    duplicates: dict[str, str] = {}
    numbered = {stem for stem in found.files if stem.endswith(_FIRST)}
    for stem, path in found.files.items():
        alone = file_ending(path) in KSPACE_ENDINGS or (channels == 1 and not numbered)
        name = stem + _FIRST if alone and stem not in numbered else stem
        if stem in found.duplicates:
            duplicates[name] = found.duplicates[stem]
        if name in named:
            duplicates[name] = f"{found.folder}: {named[name].name} and {path.name} are one case; keep one"
        named.setdefault(name, path)
    return replace(found, files=dict(sorted(named.items())), duplicates=duplicates)


def _channel_fault(match: re.Match[str] | None, path: Path, description: DatasetDescription) -> str | None:
    if match is None:
        ending = file_ending(path)
        return f"not called CASE_0000{ending} (0000 is the channel's number); rename or remove it"
    channels = description.channels
    if int(match[2]) < len(channels):
        return None
    return (
        f"extra channel {match[2]}: dataset.json names {len(channels)} ({', '.join(channels)}); name it "
        f"there or remove it"
    )


def with_other_sides(cases: list[Case], among: list[Case], description: DatasetDescription) -> list[Case]:
    """Each case with that of the same person's other side: if there are several, the first by name."""
    opposite: dict[Side, Side] = {"left": "right", "right": "left"}
    found: dict[tuple[str, Side | None], Case] = {}
    for case in sorted(among, key=lambda c: c.name):
        found.setdefault((description.subject(case.name), case.side), case)
    return [
        replace(c, other_side=found.get((description.subject(c.name), opposite[c.side]))) if c.side else c
        for c in cases
    ]
