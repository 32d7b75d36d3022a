"""Scores of reconstructions against the image from all samples of the same file."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.check_labels import not_finite
from kneeformer.data.files import read_json
from kneeformer.data.images import Image, file_ending, on_grid, read_image
from kneeformer.errors import KneeformerError
from kneeformer.kspace.fourier import is_3d, zero_filled
from kneeformer.kspace.sampling import apparent_acceleration, is_fully_sampled, measured_columns
from kneeformer.metrics.reconstruction import ACCELERATION, PSNR, limb, reconstruction_metrics
from kneeformer.metrics.score_table import Part, Score, rows_of
from kneeformer.tasks.evaluation import Evaluation, LeadingScore, PredictedCase
from kneeformer.tasks.mri_reconstruction.prepare import SIMULATED


def score_reconstruction(case: PredictedCase) -> Iterator[Score]:
    """The rows of the whole volume, as fastMRI evaluates it, and of the limb alone.

    Raises:
        KneeformerError: grids differ, voxels are not finite, or the reference is undersampled itself.
    """
    reference = _truth(case.reference)
    found = on_grid(read_image(case.prediction), reference.grid, case.prediction, case.reference)
    truth, image = reference.array, found.array
    for file, array in ((case.reference, truth), (case.prediction, image)):
        if not np.isfinite([array.min(), array.max()]).all():  # NaN scores would be left out of the means
            raise KneeformerError(not_finite(file, array))
    facts = _facts(case)
    acceleration = facts.get("true_acceleration")
    known = float(acceleration) if isinstance(acceleration, (int, float)) else math.nan
    whole = {**reconstruction_metrics(truth, image), ACCELERATION: known}
    structure = f"image {SIMULATED}" if facts.get("data") == SIMULATED else "image"  # in every table
    yield from rows_of(case.name, Part(structure), whole)
    yield from rows_of(case.name, Part(structure, "limb"), reconstruction_metrics(truth, image, limb(truth)))


def _facts(case: PredictedCase) -> dict[str, Any]:
    """Facts of the undersampling, as `--simulate` wrote them beside the image; empty without."""
    file = case.prediction.with_name(
        f"{case.prediction.name[: -len(file_ending(case.prediction))]}.json"  # the name as the disk spells it
    )
    facts = read_json(file) if file.is_file() else {}
    return facts if isinstance(facts, dict) else {}


def _truth(file: Path) -> Image:
    image = read_image(file)
    if np.iscomplexobj(image.array):
        kspace = image.array
        mask = np.asarray(kspace[:, 0].any((0, 2))) if is_3d(kspace) else measured_columns(kspace)
        if not is_fully_sampled(mask):
            raise KneeformerError(
                f"{file}: undersampled {apparent_acceleration(mask):.1f}x itself, so it is no truth; compare "
                f"with a fully sampled file"
            )
        return Image(zero_filled(image.array, image.grid.shape), image.grid)
    return Image(image.array.astype(np.float32), image.grid)


EVALUATION = Evaluation(score_reconstruction, LeadingScore(PSNR), against_images=True)
