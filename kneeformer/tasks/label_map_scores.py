"""Scores of predicted label maps, structure by structure."""

from collections.abc import Iterator

from kneeformer.data.check_labels import meaning_problems
from kneeformer.data.images import Image, on_grid
from kneeformer.data.label_map import read_label_map
from kneeformer.errors import KneeformerError
from kneeformer.metrics.score_table import Part, Score, rows_of
from kneeformer.metrics.scores import score_case
from kneeformer.tasks.evaluation import PredictedCase


def score_label_maps(case: PredictedCase) -> Iterator[Score]:
    """The rows of every structure of the dataset, in the whole image.

    Raises:
        KneeformerError: the grids differ, or dataset.json does not declare the values or segments.
    """
    reference, prediction = read_pair(case)
    scheme = case.description.scheme
    problems = [
        line
        for path, image in ((case.reference, reference), (case.prediction, prediction))
        for line in meaning_problems(path, image.array, scheme)
    ]
    if problems:
        raise KneeformerError("\n  ".join(problems))
    scores = score_case(reference.array, prediction.array, reference.grid.spacing, scheme)
    for structure, values in scores.items():
        yield from rows_of(case.name, Part(structure), values)


def read_pair(case: PredictedCase) -> tuple[Image, Image]:
    """Read reference and prediction as label maps, in the axes of the reference.

    Raises:
        KneeformerError: their grids differ.
    """
    reference = case.reference_labels
    prediction = read_label_map(case.prediction)
    return reference, on_grid(prediction, reference.grid, case.prediction, case.reference)
