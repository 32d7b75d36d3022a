"""Scores of a trained fold on its prepared validation cases, computed once and stored in its folder."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kneeformer.data.storage import record_file
from kneeformer.errors import KneeformerError
from kneeformer.metrics.score_table import Score, ScoreTable
from kneeformer.metrics.summary import read_summary, summarise, write_summary
from kneeformer.progress import Progress
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.predict import Predictor


def score_prepared_cases(
    fold: Path, prepared: Path, subjects: Mapping[str, str], device: str | None, watch: Progress
) -> ScoreTable:
    """The scores of `PredictiveTask.score_prepared`, read if they are stored, else computed.

    They are stored in validation/prepared, which a new training of the fold removes, and computed again if
    cases were prepared since or others are validated.

    Args:
        fold: folder of the fold.
        prepared: folder of the prepared cases.
        subjects: subject of each validation case.

    Raises:
        KneeformerError: cases are not prepared.
    """
    kept = fold / "validation" / "prepared"
    records = {name: record_file(prepared, name) for name in subjects}
    with suppress(KneeformerError):  # damaged or missing: computed
        table = read_summary(kept).table
        stored = (kept / "summary.json").stat().st_mtime
        since = [file for file in records.values() if file.is_file() and file.stat().st_mtime > stored]
        if table.subjects == subjects and not since:
            return table
    if missing := [name for name, file in records.items() if not file.is_file()]:
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
