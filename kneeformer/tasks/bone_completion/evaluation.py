"""Scores of completed bones: of the hidden region, which leads, and of the composite. Needs no torch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kneeformer.data.check_labels import meaning_problems
from kneeformer.data.images import on_grid, read_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE
from kneeformer.metrics.score_table import Part, Score, rows_of
from kneeformer.metrics.scores import score_masks
from kneeformer.metrics.shape_completion import HIDDEN, RMSD, BoneVolume, score_completion
from kneeformer.tasks.evaluation import Evaluation, LeadingScore, PredictedCase
from kneeformer.tasks.label_map_scores import read_pair

WINDOW_HU = (-200.0, 1500.0)  # 0 and 1 of compared intensities, for all plans


def score_completed_bone(case: PredictedCase) -> Iterator[Score]:
    """The rows of a bone, all structures of the dataset as one: its hidden region, and the composite.

    Without a mask the whole bones are compared. Voxels that the reference ignores do not count.

    Raises:
        KneeformerError: files are missing or unreadable, grids differ, or a label map has other values.
    """
    reference, prediction = read_pair(case)
    grid, scheme = reference.grid, case.description.scheme
    (bone,) = scheme.merged().names
    counted = scheme.scored(reference.array)
    truth, found = (reference.array > 0) & counted, (prediction.array > 0) & counted
    if case.mask is None:
        _refuse_other_meanings(case, reference.array, prediction.array)
        yield from rows_of(case.name, Part(bone), score_masks(truth, found, grid.spacing))
        return
    region = (_on_grid(case.mask, grid) >= COMPLETE) & counted  # displaced fragments are a part of it
    scores = score_completion(
        _volume(_on_grid(case.images[0], grid), truth),
        _volume(_on_grid(case.beside("_ct"), grid), found),
        region,
        grid,
    )
    for name, values in scores.items():
        yield from rows_of(case.name, Part(bone, name), values)


EVALUATION = Evaluation(score_completed_bone, LeadingScore(RMSD, HIDDEN))


def _refuse_other_meanings(case: PredictedCase, reference: np.ndarray, prediction: np.ndarray) -> None:
    """Raises KneeformerError: values are neither 1, as of completions, nor those of dataset.json."""
    scheme = case.description.scheme
    problems = meaning_problems(case.reference, reference, scheme)
    if meaning_problems(case.prediction, prediction, scheme.merged()):
        problems += meaning_problems(case.prediction, prediction, scheme)
    if problems:
        raise KneeformerError("\n  ".join(problems))


def _on_grid(file: Path, grid: Grid) -> np.ndarray:
    return on_grid(read_image(file), grid, file, "the reference").array


def _volume(ct: np.ndarray, bone: np.ndarray) -> BoneVolume:
    """The bone alone, with the CT window scaled to [0, 1]."""
    low, high = WINDOW_HU
    return BoneVolume(np.clip((ct.astype(np.float32) - low) / (high - low), 0, 1) * bone, bone)
