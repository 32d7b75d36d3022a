"""Scores of reconstructions, against the image that all samples of their own file give."""

import math
from collections.abc import Iterator

import numpy as np

from kneeformer.data.files import read_json
from kneeformer.data.images import Image, read_image
from kneeformer.errors import KneeformerError
from kneeformer.kspace.fourier import zero_filled
from kneeformer.metrics.reconstruction import ACCELERATION, PSNR, limb, reconstruction_metrics
from kneeformer.metrics.score_table import Part, Score, rows_of
from kneeformer.tasks.evaluation import Evaluation, LeadingScore, PredictedCase

IMAGE = Part("image")
LIMB = Part("image", "limb")


def score_reconstruction(case: PredictedCase) -> Iterator[Score]:
    """The rows of the whole volume, as fastMRI evaluates it, and of the limb alone.

    Raises:
        KneeformerError: the grids differ.
    """
    reference, found = _magnitude(read_image(case.reference)), read_image(case.prediction)
    if mismatch := reference.grid.mismatch(found.grid):
        raise KneeformerError(f"{case.prediction}: another grid than {case.reference}: {mismatch}")
    truth, image = reference.array, found.array
    whole = {**reconstruction_metrics(truth, image), ACCELERATION: _true_acceleration(case)}
    yield from rows_of(case.name, IMAGE, whole)
    yield from rows_of(case.name, LIMB, reconstruction_metrics(truth, image, limb(truth)))


def _true_acceleration(case: PredictedCase) -> float:
    """Of the scan that was reconstructed, as `--simulate` wrote it beside the image; NaN without."""
    file = case.prediction.with_name(f"{case.name}.json")
    facts = read_json(file) if file.is_file() else {}
    found = facts.get("true_acceleration") if isinstance(facts, dict) else None
    return float(found) if isinstance(found, (int, float)) else math.nan


def _magnitude(image: Image) -> Image:
    if np.iscomplexobj(image.array):
        return Image(zero_filled(image.array, image.grid.shape), image.grid)
    return Image(image.array.astype(np.float32), image.grid)


EVALUATION = Evaluation(score_reconstruction, LeadingScore(PSNR), against_images=True)
