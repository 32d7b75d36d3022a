"""Suggest the scans of imagesUn that should be labelled next, with draft labels."""

import logging
from pathlib import Path

import numpy as np

from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError, named
from kneeformer.progress import Progress
from kneeformer.reporting.score_tables import csv_text
from kneeformer.studies.suggestion import Suggestion, small_image, suggest, uncertainty
from kneeformer.tasks.base import Scan
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.predict import Predictor, read_scan

TABLE = "suggestions.csv"


def suggest_cases(
    predictor: Predictor, dataset: Dataset, number: int, output: Path, watch: Progress
) -> list[Suggestion]:
    """Suggest scans to label, and write a table of them, and each one's predicted labels and picture.

    A scan that cannot be read is logged and left out.

    Returns:
        The suggestions, the most useful first.

    Raises:
        KneeformerError: the model does not segment, or no scan of the dataset is without labels.
    """
    configuration = predictor.configuration
    if not predictive(configuration.task).predicts_structures:
        raise KneeformerError(
            f"task {configuration.task!r} does not segment; choose a model that does with -c"
        )
    cases = {case.name: case for case in dataset.unlabelled_cases()}
    if not cases:
        raise KneeformerError(f"{dataset.folder / 'imagesUn'}: no scans without labels; put some there")
    require_writable(output)
    labelled, uncertain, images = [], {}, {}
    training = dataset.training_cases()
    for i, case in enumerate((*training, *cases.values())):
        watch("Predicting scans", i, len(training) + len(cases))
        try:
            scan = read_scan(case)
            small = small_image(scan.image[0], scan.grid.orientation())
            if case.name in cases:
                uncertain[case.name] = _uncertainty(predictor, scan)
                images[case.name] = small
            else:
                labelled.append(small)
        except KneeformerError as fault:
            logging.getLogger(__name__).warning("left out: %s", named(case.name, fault))
    watch("Predicting scans", len(training) + len(cases), len(training) + len(cases))
    suggestions = suggest(uncertain, images, labelled, number)
    for i, suggestion in enumerate(suggestions):
        watch("Writing draft labels", i + 1, len(suggestions))
        predictor.predict_case(cases[suggestion.case], output)
    write_text(
        output / TABLE,
        csv_text(
            ["rank", "case", "uncertainty", "distance"],
            ([i, s.case, s.uncertainty, s.distance] for i, s in enumerate(suggestions, 1)),
        ),
    )
    return suggestions


def _uncertainty(predictor: Predictor, scan: Scan) -> float:
    probabilities = predictor.predict_scan(scan, probabilities=True).volumes["_probabilities"]
    return uncertainty(np.asarray(probabilities), predictor.plan.dataset.scheme.has_regions)
