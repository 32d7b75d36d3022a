"""Scores of a trained fold on its prepared validation cases: computed once, stored in its folder."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.metrics.score_table import Score, ScoreTable
from kneeformer.metrics.summary import read_summary, summarise, write_summary
from kneeformer.progress import Progress
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.predict import Predictor


def score_prepared_cases(
    fold: Path, prepared: Path, subjects: Mapping[str, str], device: str | None, watch: Progress
) -> ScoreTable:
    """The scores of `PredictiveTask.score_prepared`, read where they are stored, else computed.

    They are stored in validation/prepared, which a training of the fold clears.

    Args:
        fold: its folder.
        prepared: folder of prepared cases.
        subjects: of each validation case the subject.

    Raises:
        KneeformerError: cases are not prepared.
    """
    kept = fold / "validation" / "prepared"
    with suppress(KneeformerError):  # damaged or missing: computed
        return read_summary(kept).table
    if missing := [name for name in subjects if not (prepared / f"{name}.json").is_file()]:
        raise KneeformerError(f"{prepared}: not prepared: {', '.join(missing)}; run kf_preprocess")
    predictor = Predictor.from_model_folder(fold.parent, [fold.name], device=device)
    task, (network,) = predictive(predictor.configuration.task), predictor.networks
    rows: list[Score] = []
    for number, name in enumerate(sorted(subjects)):
        watch("Scoring prepared cases", number, len(subjects))
        rows += task.score_prepared(network, prepared / name, number)
    table = ScoreTable(tuple(rows), subjects)
    write_summary(summarise(table), kept)
    return table
