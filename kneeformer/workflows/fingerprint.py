"""Check a dataset and take its fingerprint, opening each file once."""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

import numpy as np

from kneeformer.data.check import check_case, check_layout, layout_warnings
from kneeformer.data.cluster import require_shared
from kneeformer.data.dataset import Case, Dataset, with_other_sides
from kneeformer.data.description import DatasetDescription
from kneeformer.data.disk import free_disk_problem
from kneeformer.data.files import read_model
from kneeformer.data.processes import run_each
from kneeformer.errors import KneeformerError, named
from kneeformer.paths import Folders
from kneeformer.planning.fingerprint import (
    CaseFingerprint,
    Fingerprint,
    case_fingerprint,
    dataset_fingerprint,
    samples_per_case,
)
from kneeformer.progress import Progress

FINGERPRINT = "dataset_fingerprint.json"
_SHOWN = 10  # warnings


@dataclass(frozen=True)
class Inspection:
    """Report of a child process on a case; `digest` identifies its voxels."""

    problems: list[str]
    facts: CaseFingerprint | None = None
    sample: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)
    digest: bytes = b""


def take_fingerprint(dataset: Dataset, folder: Path, processes: int, watch: Progress) -> Fingerprint:
    """Check every file of the dataset, and measure the cases.

    Args:
        folder: where the cases will be prepared; its disk must have room.

    Raises:
        KneeformerError: the dataset has problems, one per line; or workers of a cluster do not see it.
    """
    labelled, unlabelled = dataset.training_cases(), dataset.unlabelled_cases()
    problems = check_layout(dataset)
    whole = [c for c in [*labelled, *unlabelled] if all(f.is_file() for f in c.files)]
    require_shared(dataset.folder)
    general, drawn = dataset.description.without_cases(), samples_per_case(len(whole))
    jobs = [(case, general, drawn) for case in whole]
    outcomes = run_each(
        _inspect,
        jobs,
        [str(c.images[0]) for c in whole],
        processes,
        lambda done: watch("Checking and measuring cases", done, len(jobs)),
    )
    inspections = [
        Inspection([named(case.images[0], o)]) if isinstance(o, Exception) else o
        for case, o in zip(whole, outcomes, strict=True)
    ]
    problems += [line for inspection in inspections for line in inspection.problems]
    used = {c.name for c in labelled or unlabelled}
    facts = {c.name: i.facts for c, i in zip(whole, inspections, strict=True) if i.facts and c.name in used}
    problems += _disk_problems(
        folder, [i.facts for i in inspections if i.facts], len(dataset.description.channels)
    )
    if problems:
        raise KneeformerError(_listed(dataset, problems))
    warnings = [line for inspection in inspections for line in inspection.warnings]
    log_warnings([*layout_warnings(dataset), *_same_scans(whole, inspections), *warnings])
    samples = [
        i.sample for c, i in zip(whole, inspections, strict=True) if i.sample is not None and c.name in used
    ]
    subject = dataset.description.subject
    without = {subject(c.name) for c in unlabelled} - {subject(c.name) for c in labelled}
    paired = with_other_sides(labelled, labelled, dataset.description)
    both_sides = bool(paired) and all(case.other_side for case in paired)
    names = dataset.description.scheme.names
    persons = {name: subject(name) for name in facts}
    return dataset_fingerprint(facts, samples, names, persons, len(without), both_sides)


def read_fingerprint(folders: Folders, dataset: str) -> Fingerprint:
    """Read the fingerprint of a planned dataset. Raises KneeformerError: it is missing or damaged."""
    remedy = f"restore {folders.raw / dataset} and type kf_plan -d {quote(dataset)}"
    return read_model(folders.preprocessed / dataset / FINGERPRINT, Fingerprint, remedy)


def _inspect(job: tuple[Case, DatasetDescription, int]) -> Inspection:
    case, description, samples = job
    checked = check_case(case, description)
    if checked.problems or checked.images is None or checked.grid is None:
        return Inspection(checked.problems)
    seed = int.from_bytes(case.name.encode()[-8:], "little")
    facts, sample = case_fingerprint(
        checked.images,
        checked.label,
        checked.grid,
        description.scheme,
        seed,
        samples,
        case.side,
        description.phase_encoding_axes,
    )
    digest = hashlib.blake2b(checked.images.ravel().data, digest_size=16).digest()
    return Inspection([], facts, sample, checked.warnings, digest)


def _same_scans(cases: list[Case], inspections: list[Inspection]) -> list[str]:
    """A line for each scan that several cases share."""
    by_digest: dict[bytes, list[Case]] = {}
    for case, inspection in zip(cases, inspections, strict=True):
        by_digest.setdefault(inspection.digest, []).append(case)
    return [
        f"{one.images[0]}: the same voxels as {' and '.join(case.name for case in others)}: one would train "
        f"and another validate; keep one"
        for one, *others in by_digest.values()
        if others
    ]


def log_warnings(lines: list[str]) -> None:
    """Log a warning with the first few lines and the number of others."""
    if lines:
        more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        shown = [*(f"  {line}" for line in lines[:_SHOWN]), *more]
        logging.getLogger(__name__).warning("%d warnings:\n%s", len(lines), "\n".join(shown))


def _disk_problems(folder: Path, facts: list[CaseFingerprint], channels: int) -> list[str]:
    needed = sum(int(np.prod(f.shape)) for f in facts) * (4 * channels + 1)
    problem = free_disk_problem(folder, needed)
    return [problem] if problem else []


def _listed(dataset: Dataset, problems: list[str]) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return f"{dataset.folder}: {count} to fix before any work:\n" + "\n".join(f"  {p}" for p in problems)
