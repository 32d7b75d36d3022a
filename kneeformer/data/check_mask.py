"""Check of a mask: one line per problem, beginning with the file."""

import re
from pathlib import Path

import numpy as np

from kneeformer.data.check import check_case
from kneeformer.data.dataset import Case
from kneeformer.data.description import DatasetDescription
from kneeformer.data.image_folder import image_folder
from kneeformer.data.images import file_ending
from kneeformer.data.label_map import read_label_map
from kneeformer.data.segment_names import MASK, segment_problems
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, FRAGMENTS, KEEP

_MEANING = (
    f"{KEEP} marks bone to keep, {COMPLETE} the region to complete, {FRAGMENTS[0]} to {FRAGMENTS[-1]} a "
    f"displaced fragment each, 0 none of these"
)


def check_input(job: tuple[Case, DatasetDescription, str | None]) -> tuple[list[str], list[str]]:
    """Problems and warnings of a case's images, and of its mask and its other side if it has them.

    It is in this module so that a child process that calls it need not load torch.

    Args:
        job: a case; what its images must be; `unmarked` of `mask_problems`.
    """
    case, description, unmarked = job
    checked = check_case(case, description)
    problems, warnings = list(checked.problems), list(checked.warnings)
    if case.mask is not None:
        problems += mask_problems(case.mask, case.images[0], checked.grid, unmarked)
    if case.other_side is not None:
        other = check_case(case.other_side, description)
        problems, warnings = problems + other.problems, warnings + other.warnings
    return problems, warnings


def mask_problems(file: Path, scan: Path, grid: Grid | None, unmarked: str | None) -> list[str]:
    """Open a mask once and list what is wrong with it; as `check_case`, in a child process.

    Args:
        scan, grid: those it belongs to; None if they cannot be read.
        unmarked: problem to report if the mask marks no bone to keep; None if the bone is found without it.
    """
    if file == scan:
        return [f"{file}: is the scan; give its mask, of the same name, in another folder ({_MEANING})"]
    if not file.is_file():
        alike = ", ".join(name for name in _alike(file) if name != scan.name)
        called = f"; where {alike} is it, call it {file.name}" if alike else ""
        return [f"{file}: no such file: every scan needs its mask, {scan.name} as well ({_MEANING}){called}"]
    try:
        mask = read_label_map(file)
    except KneeformerError as fault:
        return [str(fault)]
    problems = segment_problems(file, MASK, "a mask")
    differs = None if grid is None else mask.reoriented_to(grid).grid.mismatch(grid)
    if (content := _content_problem(mask.array, unmarked)) is not None:
        problems.append(f"{file}: {content}")
    if differs is not None:
        problems.append(
            f"{file}: its grid differs from {scan.name}: {differs}; export it with the scan as its "
            f"reference, or resample it onto the scan with nearest-neighbour interpolation"
        )
    return problems


def _alike(file: Path) -> list[str]:
    """Image files beside a missing one whose names begin alike: P2_mask.nrrd, p2.nrrd, P2_0000.nrrd."""
    name = file.name[: -len(file_ending(file))].casefold()
    pattern = re.compile(rf"{re.escape(name)}(?![^\W_])")
    files = image_folder(file.parent).files
    return [path.name for other, path in files.items() if pattern.match(other.casefold())]


def _content_problem(mask: np.ndarray, unmarked: str | None) -> str | None:
    neither, kept, hidden = (int(np.count_nonzero(mask == value)) for value in (0, KEEP, COMPLETE))
    if others := _others(mask):
        return f"holds {others}; in a mask {_MEANING}, and no other value is allowed"
    if neither == mask.size:
        return f"an empty mask, every voxel is 0; draw it: {_MEANING}"
    if not hidden:
        return f"nothing to complete, no voxel is {COMPLETE}; mark the region of the fracture with {COMPLETE}"
    if hidden == mask.size:
        return f"everything is hidden, every voxel is {COMPLETE}; draw the region around the fracture alone"
    if not neither:
        return "marks everything, no voxel is 0: nothing shows where the bone ends; mark the bone alone"
    return None if kept else unmarked


def _others(mask: np.ndarray, most: int = 10) -> str:
    """The values that a mask must not have, as text; empty if there are none."""
    values = np.setdiff1d(mask, (0, KEEP, COMPLETE, *FRAGMENTS))
    return ", ".join(f"{v:g}" for v in values[:most]) + (", ..." if len(values) > most else "")
