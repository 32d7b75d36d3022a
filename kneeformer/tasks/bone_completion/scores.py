"""Scores of the completions of a validated fold: computed once, stored in its folder. Needs no torch."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Case, Dataset
from kneeformer.data.files import read_model, stamp, write_text
from kneeformer.data.images import read_image
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import default_processes, run_each
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, LabelScheme
from kneeformer.metrics.completion_comparison import PARTS
from kneeformer.metrics.scores import CaseMetrics
from kneeformer.metrics.shape_completion import BoneVolume, score_completion
from kneeformer.metrics.summary import CaseScores, Record, read_summary
from kneeformer.progress import Progress
from kneeformer.tasks.bone_completion.settings import BoneConfiguration
from kneeformer.tasks.comparison import ValidationScores

SCORES = "completion.json"  # in a fold's validation

Window = tuple[float, float]


class FoldScores(Record):
    """The scores of a validation as they are kept.

    Attributes:
        of: stamp of what was validated; with another one, or another window, they are made anew.
        window_hu: what is 0 and 1 in the intensities.
        hidden: a digest of each case's hidden region.
    """

    of: str
    window_hu: Window
    hidden: dict[str, str]
    cases: tuple[CaseScores, ...]


@dataclass(frozen=True)
class _Files:
    """Of one completed case, as they travel to a child process."""

    scan: Path
    reference: Path
    mask: Path
    ct: Path
    asked: Path
    scheme: LabelScheme
    window_hu: Window


def completion_scores(
    folder: Path, dataset: Dataset, configuration: BoneConfiguration, watch: Progress
) -> ValidationScores:
    """The scores of a fold's validation, by the window of its own plan. Raises as `score_fold`."""
    found = score_fold(folder, dataset, configuration.preprocessing.window_hu, watch)
    return ValidationScores(found.hidden, found.cases)


def score_fold(folder: Path, dataset: Dataset, window_hu: Window, watch: Progress) -> FoldScores:
    """The scores of a fold's validation: those that are kept, or made where there are none or of another.

    On disk the model's CT is in the region alone, the scan's around it: only PARTS are worth keeping.

    Raises:
        KneeformerError: files of the validation are missing or unreadable; all of them in one list.
    """
    validation = folder / "validation"
    of = stamp(folder / "plan.json", validation / "summary.json")
    kept = _read(validation / SCORES)
    if kept is not None and (kept.of, kept.window_hu) == (of, window_hu):
        return kept
    validated = read_summary(validation).metric_per_case
    subjects = {case.case: case.subject for case in validated}
    cases = [case for case in dataset.training_cases() if case.name in subjects]
    scored = _score_cases(cases, dataset, validation, window_hu, watch)
    made = FoldScores(
        of=of,
        window_hu=window_hu,
        hidden={name: digest for name, (digest, _) in scored.items()},
        cases=tuple(
            CaseScores(case=name, subject=subjects[name], metrics=metrics)
            for name, (_, metrics) in scored.items()
        ),
    )
    write_text(validation / SCORES, made.model_dump_json(indent=2) + "\n")
    return made


def _read(file: Path) -> FoldScores | None:
    """Read stored scores; None where they are missing or damaged."""
    with suppress(KneeformerError):
        return read_model(file, FoldScores, "")
    return None


def _score_cases(
    cases: list[Case], dataset: Dataset, validation: Path, window_hu: Window, watch: Progress
) -> dict[str, tuple[str, CaseMetrics]]:
    """Score each case in a child process."""
    outcomes = run_each(
        _score,
        [_files(case, dataset, validation, window_hu) for case in cases],
        [case.name for case in cases],
        default_processes(),
        lambda done: watch("Scoring completions", done, len(cases)),
    )
    faults = [f"  {outcome}" for outcome in outcomes if isinstance(outcome, Exception)]
    if faults:
        raise KneeformerError(
            f"{validation}: {len(faults)} cases cannot be scored; fix them, or validate the fold again with "
            f"kf_train --val:\n" + "\n".join(faults)
        )
    return {c.name: o for c, o in zip(cases, outcomes, strict=True) if not isinstance(o, Exception)}


def _files(case: Case, dataset: Dataset, validation: Path, window: Window) -> _Files:
    ending = dataset.description.file_ending
    assert case.label is not None
    return _Files(
        scan=case.images[0],
        reference=case.label,
        mask=validation / f"{case.name}{ending}",
        ct=validation / f"{case.name}_ct{ending}",
        asked=validation / "masks" / f"{case.name}{ending}",
        scheme=dataset.description.scheme,
        window_hu=window,
    )


def _score(files: _Files) -> tuple[str, CaseMetrics]:
    """Digest of the hidden region, and the scores of PARTS."""
    reference = read_label_map(files.reference)
    geometry, labels = reference.geometry, reference.array
    region = _on_grid(files.asked, geometry) == COMPLETE
    scores = score_completion(
        _volume(_on_grid(files.scan, geometry), (labels > 0) & files.scheme.scored(labels), files.window_hu),
        _volume(_on_grid(files.ct, geometry), _on_grid(files.mask, geometry) > 0, files.window_hu),
        region,
        geometry,
    )
    digest = hashlib.sha256(np.packbits(region).tobytes()).hexdigest()[:16]
    return digest, {part: scores[part] for part in PARTS}


def _on_grid(file: Path, geometry: Grid) -> np.ndarray:
    image = read_image(file)
    mismatch = geometry.mismatch(image.geometry)
    if mismatch is not None:
        raise KneeformerError(f"{file}: another grid than the reference: {mismatch}")
    return image.array


def _volume(ct: np.ndarray, bone: np.ndarray, window: Window) -> BoneVolume:
    """The bone alone, the window as [0, 1]."""
    low, high = window
    return BoneVolume(np.clip((ct.astype(np.float32) - low) / (high - low), 0, 1) * bone, bone)
