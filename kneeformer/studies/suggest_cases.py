"""Suggest scans of imagesUn to label next, with draft labels."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kneeformer.data.check_labels import not_finite
from kneeformer.data.dataset import Case, Dataset
from kneeformer.data.disk import require_writable
from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError, named
from kneeformer.progress import Progress
from kneeformer.reporting.score_tables import csv_text
from kneeformer.studies.active_learning import Suggestion, small_image, suggest, uncertainty
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.scan_files import read_scan

TABLE = "suggestions.csv"


def suggest_cases(
    predictor: Predictor, dataset: Dataset, number: int, output: Path, watch: Progress
) -> list[Suggestion]:
    """Suggest scans to label; write a table of them, and predicted labels and a picture of each.

    A scan that cannot be read is logged and left out.

    Returns:
        The suggestions, the most useful first.

    Raises:
        KneeformerError: the model does not segment, no scan of the dataset is without labels, or the folder
            holds earlier suggestions, whose drafts may be corrected by now.
    """
    configuration = predictor.configuration
    if not predictive(configuration.task).predicts_structures:
        raise KneeformerError(
            f"task {configuration.task!r} does not segment; choose a model that does with -c"
        )
    cases = {case.name: case for case in dataset.unlabelled_cases()}
    if not cases:
        raise KneeformerError(f"{dataset.folder / 'imagesUn'}: no scans without labels; put some there")
    if (output / TABLE).exists():
        raise KneeformerError(
            f"{output / TABLE}: drafts of earlier suggestions lie here, perhaps corrected, and would be "
            f"overwritten; give another folder with -o"
        )
    require_writable(output)
    suggestions = suggest_among(predictor, dataset.training_cases(), [*cases.values()], number, watch)
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


def suggest_among(
    predictor: Predictor, labelled: Sequence[Case], unlabelled: Sequence[Case], number: int, watch: Progress
) -> list[Suggestion]:
    """The scans to label next, the most useful first; unreadable ones are logged and left out."""
    known, uncertain, images = [], {}, {}
    for i, case in enumerate((*labelled, *unlabelled)):
        watch("Predicting scans", i, len(labelled) + len(unlabelled))
        try:
            scan = read_scan(case)
            if not np.isfinite(scan.image).all():
                raise KneeformerError(not_finite(case.images[0], scan.image))
            small = small_image(scan.image[0], scan.grid.orientation())
            if i < len(labelled):
                known.append(small)
            else:
                uncertain[case.name] = _uncertainty(predictor, scan)
                images[case.name] = small
        except KneeformerError as fault:
            logging.getLogger(__name__).warning("left out: %s", named(case.name, fault))
    watch("Predicting scans", len(labelled) + len(unlabelled), len(labelled) + len(unlabelled))
    return suggest(uncertain, images, known, number)


def _uncertainty(predictor: Predictor, scan: Scan) -> float:
    probabilities = predictor.predict_scan(scan, probabilities=True).volumes["_probabilities"]
    return uncertainty(np.asarray(probabilities), predictor.plan.dataset.scheme.has_regions)
