"""The cases to predict: their files, masks and other sides, and the problems in these."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from kneeformer.config import Configuration, DatasetSettings
from kneeformer.data.check_mask import check_input
from kneeformer.data.dataset import (
    Case,
    CaseFolder,
    case_folder,
    is_named_as_scan,
    with_labels,
    with_masks,
    with_other_sides,
)
from kneeformer.data.description import DatasetDescription
from kneeformer.data.dicom_channels import series_of_cases
from kneeformer.data.dicom_folder import DicomSeries, dicom_folder
from kneeformer.data.formats.dicom_planes import is_dicom
from kneeformer.data.image_folder import composed, has_unusable_name, image_folder, lines_of, printable
from kneeformer.data.images import file_ending, write_image
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import checking_processes, run_each
from kneeformer.errors import KneeformerError, named
from kneeformer.progress import Progress
from kneeformer.sides import side_in_name
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.fingerprint import log_warnings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """Folders that a prediction reads.

    Attributes:
        scans: a folder, or one file.
        masks: folder of CASE masks, for a task that requires them.
        other_sides: folder of the same persons' other sides, scans CASE_0000 and bones CASE, for a
            configuration that takes them.
    """

    scans: Path
    masks: Path | None = None
    other_sides: Path | None = None

    @property
    def given(self) -> list[Path]:
        """The sources that are given."""
        return [path for path in (self.scans, self.masks, self.other_sides) if path is not None]


@dataclass(frozen=True)
class Inputs:
    """The cases found in the sources of a prediction.

    Attributes:
        cases: with their masks and other sides, where these are needed.
        folders: the folders that hold them.
        duplicates: a line for each pair of files that are the same case.
        series: the DICOM series of each case, one per channel, if the input is DICOM.
    """

    cases: list[Case]
    folders: list[Path]
    duplicates: list[str]
    series: dict[str, tuple[DicomSeries, ...]] = field(default_factory=dict)

    def files(self, case: Case) -> list[Path]:
        """All files of a case, those of DICOM series included, of which `Case.images` has the first."""
        return [*case.files, *(file for one in self.series.get(case.name, ()) for file in one.files)]


def gather_inputs(sources: Sources, configuration: Configuration, dataset: DatasetSettings) -> Inputs:
    """Find the cases of a folder or of one file. Files of all formats are read, not only the dataset's.

    A folder without files called CASE_0000 may be a tree of DICOM series: each series is a case or, with
    several channels, each study (`series_of_cases`). Files called CASE beside DICOM are ignored: they may be
    predictions. Ignored image files are logged with the reason.

    Raises:
        KneeformerError: no images, or no such folder; masks or other sides are missing, or not needed.
    """
    source, masks, other_sides = sources.scans, sources.masks, sources.other_sides
    _require_what_is_needed(masks, other_sides, configuration)
    (found, series), description = _images(source, dataset), _description(dataset)
    cases, ignored, duplicates = found.cases, dict(found.ignored), list(found.duplicates)
    if masks is not None:
        drawn = image_folder(masks)
        cases = with_masks(cases, drawn, dataset.file_ending)
        ignored |= drawn.ignored
        duplicates += [drawn.duplicates[c.name] for c in cases if c.name in drawn.duplicates]
    if other_sides is not None:
        scans, bones = case_folder(other_sides, description), image_folder(other_sides)
        whole = with_labels(scans.cases, bones, dataset.file_ending)
        whole = [case for case in whole if case.images[0] != case.label]  # a bone without its scan
        cases = with_other_sides(cases, whole, description)
        ignored |= bones.ignored
        duplicates += [
            *scans.duplicates,
            *(bones.duplicates[c.name] for c in whole if c.name in bones.duplicates),
        ]
    used = {file for case in cases for file in case.files}
    left = lines_of({path: reason for path, reason in ignored.items() if path not in used})
    if not cases:
        there = "".join(f"\n  {line}" for line in left)
        raise KneeformerError(f"{source}: no images called CASE_0000{dataset.file_ending} here{there}")
    if left:
        _log.warning("%d files are ignored:\n%s", len(left), "\n".join(f"  {line}" for line in left))
    folders = [path.parent if path.is_file() else path for path in sources.given]
    return Inputs(cases, folders, list(dict.fromkeys(duplicates)), series)


def _images(source: Path, dataset: DatasetSettings) -> tuple[CaseFolder, dict[str, tuple[DicomSeries, ...]]]:
    found = None if source.is_file() else case_folder(source, _description(dataset))
    if found is None and not is_dicom(source):
        return _one_file(source, dataset), {}
    images = [] if found is None else [case.images[0] for case in found.cases]
    unnumbered = [image for image in images if not is_named_as_scan(image)]
    if found is not None and images and not unnumbered:
        return replace(found, ignored={**found.ignored, **_dicom_beside(source)}), {}
    listed = dicom_folder(source)
    if not listed.series and not listed.scattered and found is not None:
        return replace(found, ignored={**found.ignored, **listed.ignored}), {}
    series, unused = series_of_cases(listed.series, dataset.channel_names)
    cases = [
        Case(name, tuple(one.files[0] for one in of), side=side_in_name(name) or of[0].side)
        for name, of in series.items()
    ]
    beside = dict.fromkeys(unnumbered, "not read beside DICOM series; move it elsewhere if it is a scan")
    return CaseFolder(cases, {**beside, **listed.ignored, **unused}, listed.scattered), series


def _dicom_beside(folder: Path) -> dict[Path, str]:
    """Advice for DICOM files without an ending among files called CASE_0000."""
    bare = (path for path in sorted(folder.iterdir()) if not path.suffix and path.is_file())
    return {
        path: "DICOM, and not read beside CASE_0000 files; give a folder of DICOM series alone"
        for path in bare
        if is_dicom(path)
    }


def _one_file(source: Path, dataset: DatasetSettings) -> CaseFolder:
    if len(dataset.channel_names) > 1:
        raise KneeformerError(
            f"{source}: the model takes {len(dataset.channel_names)} channels; give a folder of CASE_0000, "
            f"CASE_0001, ... files, or of DICOM series"
        )
    if has_unusable_name(source):
        raise KneeformerError(
            f"{printable(source)}: its name holds control characters or is not UTF-8; rename it"
        )
    name = composed(source.name[: -len(file_ending(source))]).removesuffix("_0000")
    return CaseFolder([Case(name, (source,), side=side_in_name(name))], {}, [])


def _require_what_is_needed(
    masks: Path | None, other_sides: Path | None, configuration: Configuration
) -> None:
    if predictive(configuration.task).requires_mask != (masks is not None):
        need = "takes no masks: omit -m" if masks else "requires masks: give their folder with -m"
        raise KneeformerError(f"task {configuration.task!r} {need}")
    if other_sides is not None and not configuration.takes_other_side:
        raise KneeformerError("this configuration takes no other sides: omit --other_side")
    if configuration.needs_other_side and other_sides is None:
        raise KneeformerError(
            "this configuration completes a bone by that of the same person's other side: give the folder of "
            "those scans, and their bones as label maps, with --other_side"
        )
    for flag, folder in (("-m", masks), ("--other_side", other_sides)):
        if folder is not None and not folder.is_dir():
            raise KneeformerError(f"{flag} {folder}: no such folder")


def with_validation_mask(
    case: Case, task: str, description: DatasetDescription, masks: Path, number: int
) -> Case:
    """The validation case; where its task requires a mask, with one that is drawn and written to `masks`."""
    if case.label is None:
        return case
    reference = read_label_map(case.label)
    mask = predictive(task).make_validation_mask(reference.array, reference.grid, description.scheme, number)
    if mask is None:
        return case
    file = masks / f"{case.name}{description.file_ending}"
    write_image(file, mask, reference.grid)
    return replace(case, mask=file)


def input_problems(
    cases: list[Case],
    dataset: DatasetSettings,
    unmarked: str | None,
    other_sides: Path | None,
    watch: Progress,
) -> list[list[str]]:
    """Open each case's files once, in child processes; log all problems and return them case by case.

    The first few warnings are logged too.

    Args:
        unmarked: message for a mask that marks no bone to keep; None where a segmentation finds the bone.
        other_sides: folder that must hold each case's other side; None where none is needed.
    """
    description = _description(dataset)
    outcomes = run_each(
        check_input,
        [(c, description, unmarked) for c in cases],
        [str(c.images[0]) for c in cases],
        checking_processes(),
        lambda done: watch("Checking inputs", done, len(cases)),
    )
    found = [
        ([named(case.images[0], o)], []) if isinstance(o, Exception) else o
        for case, o in zip(cases, outcomes, strict=True)
    ]
    problems = [lines for lines, _ in found]
    log_warnings([line for _, warnings in found for line in warnings])
    if other_sides is not None:
        lone = [[] if c.other_side else [_no_other_side(c, other_sides)] for c in cases]
        problems = [[*lines, *missing] for lines, missing in zip(problems, lone, strict=True)]
    if faults := [f"  {line}" for lines in problems for line in lines]:
        _log.warning("%d problems; cases without any are predicted:\n%s", len(faults), "\n".join(faults))
    return problems


def _no_other_side(case: Case, folder: Path) -> str:
    named_side = "its name has no side" if case.side is None else f"its name says {case.side}"
    return (
        f"{case.images[0]}: no other side of the same person in {folder}; {named_side}; name both sides of "
        f"a person, as 12_L and 12_R, with the scan 12_R_0000 and its bone 12_R in that folder"
    )


def _description(dataset: DatasetSettings) -> DatasetDescription:
    """The description of a dataset that the inputs must meet."""
    return DatasetDescription(
        channel_names={str(i): n for i, n in enumerate(dataset.channel_names)},
        labels=dataset.labels,
        regions_class_order=dataset.regions_class_order,
        file_ending=dataset.file_ending,
    )
