"""Check that prepared cases match the plan and the raw files. Needs no torch."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kneeformer.config import GridSettings
from kneeformer.data.dataset import Case
from kneeformer.data.files import stamp
from kneeformer.data.images import files_of
from kneeformer.data.processes import default_processes
from kneeformer.data.storage import Manifest, Origin, present_manifest, verified_manifest
from kneeformer.errors import KneeformerError, first_few
from kneeformer.labels import LabelValues

GONE = ""  # digest of raw files that are not there to be compared
PREPARATION = 2  # to be raised by a change to kneeformer that prepares other arrays by the same settings


@dataclass(frozen=True)
class Wanted:
    """A prepared case as it should be.

    Attributes:
        origin: `files` is GONE where the raw data was moved away, which matches any.
        labelled: whether it must have a label map; None if either is fine.
    """

    name: str
    origin: Origin
    labelled: bool | None = None


def settings_digest(settings: GridSettings, labels: LabelValues) -> str:
    """Digest of what prepared cases depend on beside their files: a part of the plan, and PREPARATION."""
    return _digest(f"{PREPARATION} {settings.model_dump_json()}{sorted(labels.items())}")


def files_digest(case: Case) -> str:
    """Digest of the case's existing files, by names, sizes and times, and of its side."""
    return _digest(stamp(*(file for path in case.files for file in files_of(path))) + str(case.side))


def stale_cases(folder: Path, wanted: Iterable[Wanted], verify: bool = False) -> dict[str, str]:
    """Return the stale cases, each with its reason.

    Args:
        verify: compare the contents of their files with checksums. Otherwise damage that does not change
            the length of a file is found when the damaged part is read.
    """
    cases, read = list(wanted), verified_manifest if verify else present_manifest
    with ThreadPoolExecutor(default_processes()) as threads:
        reasons = threads.map(partial(_reason, folder, read), cases)
        return {case.name: reason for case, reason in zip(cases, reasons, strict=True) if reason}


def listed(reasons: Mapping[str, str]) -> str:
    """Lines of the first few cases for each reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in sorted(reasons.items()):
        groups.setdefault(reason, []).append(name)
    return "\n".join(f"  {reason}: {first_few(names, 5)}" for reason, names in groups.items())


def _reason(folder: Path, read: Callable[[Path, str], Manifest], wanted: Wanted) -> str | None:
    try:
        manifest = read(folder, wanted.name)
    except KneeformerError as fault:
        return str(fault)
    made = manifest.record.origin
    if made.settings != wanted.origin.settings:
        return "prepared with other settings, or by another version of kneeformer"
    if GONE != wanted.origin.files != made.files:
        return "files in kf_raw were changed, added or removed since"
    if wanted.labelled and manifest.labels is None:
        return "prepared without labels"
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
