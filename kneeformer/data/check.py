"""Check of a dataset before any work: one line per problem, beginning with the file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kneeformer.data.case_names import case_name_faults, names_alike
from kneeformer.data.check_labels import label_problems, not_finite
from kneeformer.data.dataset import Case, Dataset, case_folder, list_cases
from kneeformer.data.description import DatasetDescription
from kneeformer.data.hounsfield import intensity_warnings
from kneeformer.data.image_folder import image_folder, lines_of
from kneeformer.data.images import Image, read_image
from kneeformer.data.label_map import as_label_map
from kneeformer.data.segment_names import segment_warnings
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import is_3d

_SMALLEST_MM, _LARGEST_MM = 2.0, 5000.0  # of a scan's longest side


@dataclass(frozen=True)
class CheckedCase:
    """A case, opened once: its problems, and its voxels for further use.

    Attributes:
        problems: one line each, beginning with the file; empty where the case can be used.
        images: (channels, z, y, x), stored as the first channel is, in the files' own type (float64 and wide
            integers as float32), or complex k-space, (coils, slices, rows, columns); None where a channel
            cannot be read or the channels differ in size.
        label: (z, y, x), stored as the first channel is, uint8, int16 or int32, the first that holds its
            values; None where there is none or it cannot be used.
        grid: of the first channel; None where it cannot be read.
        warnings: what may be wrong with it, one line each, beginning with the file.
    """

    problems: list[str]
    images: np.ndarray | None
    label: np.ndarray | None
    grid: Grid | None
    warnings: list[str] = field(default_factory=list)


def check_layout(dataset: Dataset) -> list[str]:
    """Problems that can be seen without opening an image: files missing, extra or without a partner."""
    description = dataset.description
    problems: list[str] = []
    cases, unlabelled = dataset.training_cases(), dataset.unlabelled_cases()
    if not cases and not unlabelled:
        problems.append(
            f"{dataset.folder / 'imagesTr'}: no cases; put one file per channel there, "
            f"called CASE_0000{description.file_ending}, or into imagesUn where there are no labels"
        )
    problems += [line for case in [*cases, *unlabelled] for line in _missing_files(case)]
    names = [case.name for case in (*cases, *unlabelled)]
    problems += [f"{dataset.folder}: {line}" for line in case_name_faults(names)]
    twice = sorted({c.name for c in cases} & {c.name for c in unlabelled})
    problems += [
        f"{dataset.folder / 'imagesUn'}: {name} is in imagesTr too; a case has one place: remove one"
        for name in twice
    ]
    problems += dataset.duplicates()
    if description.dataset is None:
        problems += _label_strays(dataset.folder / "labelsTr", cases)
        problems += _image_strays(dataset.folder / "imagesTr", description)
    problems += _image_strays(dataset.folder / "imagesUn", description)
    return problems


def layout_warnings(dataset: Dataset) -> list[str]:
    """A line for each entry of `subjects` or `sides` in dataset.json that names no case, for subjects whose
    names look the same, and for each test case of a subject that a network learns from.
    """
    description, training = dataset.description, dataset.training_cases()
    tests = list_cases(dataset.folder / "imagesTs", description)
    cases = {c.name for c in (*training, *dataset.unlabelled_cases(), *tests)}
    said = {"subjects": {*description.subjects}, "sides": {*description.sides}}
    file = dataset.folder / "dataset.json"
    learnt = {description.subject(c.name) for c in training}
    return [
        *(
            f"{file}: {key}: there is no case {name!r}; correct the name or remove it"
            for key, names in said.items()
            for name in sorted(names - cases)
        ),
        *(
            f"{file}: the subjects {group} count as several people; if they are one, give their cases one "
            f"name in subjects"
            for group in names_alike(map(description.subject, cases))
        ),
        *(
            f"{c.images[0]}: its subject is in imagesTr too, so its scores will be too good"
            for c in tests
            if description.subject(c.name) in learnt
        ),
    ]


def check_case(case: Case, description: DatasetDescription) -> CheckedCase:
    """Open every file of a case once and list what is wrong with it.

    Memory can run out on a large file: call this through `processes.run_each`.
    """
    problems: list[str] = []
    channels = _on_one_grid([(path, _open(path, problems)) for path in case.images])
    readable = [(path, image) for path, image in channels if image is not None]
    warnings: list[str] = []
    for channel, (path, image) in zip(description.channels, channels, strict=True):
        if image is not None and not np.iscomplexobj(image.array):
            faults = _image_problems(path, image.array)
            problems += faults
            warnings += [] if faults else [f"{path}: {w}" for w in intensity_warnings(image.array, channel)]
        elif image is not None and is_3d(image.array) and description.phase_encoding_axes == (2,):
            problems.append(
                f"{path}: a 3D scan, phase-encoded along slices and columns, but dataset.json says "
                f'"phase_encoding_axes": [2]; correct or remove that'
            )
    label, grid = None, None if channels[0][1] is None else channels[0][1].grid
    if case.label is not None and (opened := _open(case.label, problems)) is not None:
        faults = label_problems(case.label, opened.array, description.scheme)
        problems += faults
        warnings += [] if faults else segment_warnings(case.label, description.scheme)
        opened = opened if grid is None else opened.reoriented_to(grid)
        label = None if faults else as_label_map(opened.array)
        readable.append((case.label, opened))
    problems += _grid_problems(readable)
    problems += [] if grid is None else _size_problems(case.images[0], grid)
    return CheckedCase(problems, _stack([image for _, image in channels]), label, grid, warnings)


def _missing_files(case: Case) -> list[str]:
    lines = [
        f"{path}: missing; every case needs {len(case.images)} file(s), one per channel: add it or remove "
        f"{case.name}"
        for path in case.images
        if not path.is_file()
    ]
    if case.label is not None and not case.label.is_file():
        lines.append(
            f"{case.images[0]}: no label for this image; add {case.label}, or move the image to imagesUn, "
            f"the folder of images without labels"
        )
    return lines


def _image_strays(folder: Path, description: DatasetDescription) -> list[str]:
    """Image files that belong to no case."""
    return lines_of(case_folder(folder, description).ignored)


def _label_strays(folder: Path, cases: list[Case]) -> list[str]:
    """Label files that belong to no case."""
    found, names = image_folder(folder), {case.name for case in cases}
    alone = [
        f"{path}: no image for this label; add it to imagesTr or remove it"
        for name, path in found.files.items()
        if name not in names
    ]
    return [*lines_of(found.ignored), *alone]


def _open(path: Path, problems: list[str]) -> Image | None:
    try:
        return read_image(path)
    except KneeformerError as fault:
        problems.append(str(fault))
        return None


def _image_problems(path: Path, array: np.ndarray) -> list[str]:
    low, high = array.min(), array.max()
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.array([low, high], np.float32)).all()
    if not finite:
        return [not_finite(path, array)]
    if low == high:
        return [f"{path}: constant image, every voxel is {low:g}; export it again or remove the case"]
    return []


def _on_one_grid(channels: list[tuple[Path, Image | None]]) -> list[tuple[Path, Image | None]]:
    """The channels of a case, all stored like the first one, if they have the same voxels."""
    (_, first), *_ = channels
    if first is None:
        return channels
    return [(path, None if image is None else image.reoriented_to(first.grid)) for path, image in channels]


def _grid_problems(opened: list[tuple[Path, Image]]) -> list[str]:
    """Files whose grid differs from that of the first one."""
    if not opened:
        return []
    first, reference = opened[0]
    return [
        f"{path}: its grid differs from {first.name}: {differs}; resample one onto the other"
        for path, image in opened[1:]
        if (differs := image.grid.mismatch(reference.grid))
    ]


def _size_problems(path: Path, grid: Grid) -> list[str]:
    """A line if no part of a body has that size: the spacing must be in another unit."""
    longest = max(n * mm for n, mm in zip(grid.shape, grid.spacing, strict=True))
    if _SMALLEST_MM <= longest <= _LARGEST_MM:
        return []
    spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing)
    return [
        f"{path}: its longest side is {longest:.3g} mm, by a spacing of {spacing} mm; is that another unit? "
        f"write it in mm into its header"
    ]


def _stack(images: list[Image | None]) -> np.ndarray | None:
    arrays = [image.array for image in images if image is not None]
    if len(arrays) < len(images) or len({a.shape for a in arrays}) > 1:
        return None
    if np.iscomplexobj(arrays[0]):
        return arrays[0]
    common = np.result_type(*arrays)
    narrow = common if common.itemsize <= 4 and common != np.uint32 else np.dtype(np.float32)
    with np.errstate(over="ignore"):  # reported as a problem already
        return np.stack([a.astype(narrow, copy=False) for a in arrays])
