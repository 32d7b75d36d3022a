"""The files of the model chosen for a dataset, which kf_predict --best reads."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from kneeformer.data.files import read_model, write_text
from kneeformer.errors import KneeformerError
from kneeformer.metrics.bootstrap import Interval
from kneeformer.metrics.records import Record
from kneeformer.paths import FINAL, Folders, fold_name
from kneeformer.reporting.comparison_tables import interval_text
from kneeformer.studies.largest_components import Kept
from kneeformer.studies.ranking import Ranked

HOME = "best_configuration"  # folder in the results of a dataset


class BestConfiguration(Record):
    """Contents of best_configuration.json.

    Attributes:
        score: name of the score that ranks the configurations.
        cases: number of validation cases, the same for each configuration.
        ranking: the best first.
        chosen: the configuration to predict with, or those of an ensemble, each with its validated folds.
        post_processing: structures of which only the largest components are kept.
        left_out: lines about what is not compared, and why.
        to_compare_more: commands that train or validate what is missing.
        prediction: the command that predicts with the best.
    """

    dataset: str
    plans: tuple[str, ...]
    score: str
    lower_is_better: bool
    folds: tuple[int, ...]
    cases: int
    ranking: tuple[Ranked, ...]
    chosen: dict[str, tuple[int, ...]]
    post_processing: tuple[Kept, ...]
    left_out: tuple[str, ...]
    to_compare_more: tuple[str, ...]
    prediction: str

    def models(self, results: Path) -> dict[Path, tuple[int, ...]]:
        """The folders of the chosen models, each with its folds."""
        before = f"{self.plans[0]}__" if len(self.plans) == 1 else ""
        return {results / self.dataset / f"{before}{name}": folds for name, folds in self.chosen.items()}

    def description(self) -> str:
        """One line about the choice."""
        text = " and ".join(self.chosen) + ", averaged" * (len(self.chosen) > 1)
        kept = [f"{k.structure} (largest {k.components})" for k in self.post_processing]
        return text + (f"; components kept: {', '.join(kept)}" if kept else "")

    def report(self, table: str) -> str:
        """The table of the ranking, the choice, and what was left out."""
        parts = [table, f"Chosen: {self.description()}."]
        if self.post_processing:
            parts.append(
                "\n".join(["Post-processing that helps:", "", *map(_kept_text, self.post_processing)])
            )
        if self.left_out:
            parts.append("\n".join(["Left out:", "", *(f"- {line}" for line in self.left_out)]))
        if self.to_compare_more:
            commands = [f"    {command}" for command in self.to_compare_more]
            parts.append("\n".join(["To compare all on the same folds, type first:", "", *commands]))
        parts.append(f"To predict with the best, the test cases or others, type:\n\n    {self.prediction}")
        return "\n\n".join(parts) + "\n"


def read_best(results: Path, dataset: str | None) -> BestConfiguration:
    """Read the choice for a dataset.

    Args:
        dataset: number or folder name; None takes the only one that has a choice.

    Raises:
        KneeformerError: nothing was chosen, or for several datasets; or the file is damaged.
    """
    files = sorted(results.glob(f"Dataset*/{HOME}/best_configuration.json"))
    found = {file.parent.parent.name: file for file in files}
    if dataset is not None:
        found = {n: file for n, file in found.items() if n == dataset or n[7:10] == dataset.zfill(3)}
    if not found:
        raise KneeformerError(
            f"{results}: --best: nothing is chosen yet; first type\n"
            f"    kf_find_best_configuration {dataset or 'DATASET'}"
        )
    if len(found) > 1:
        raise KneeformerError(f"--best: chosen for {', '.join(found)}; name one with -d")
    (file,) = found.values()
    best = read_model(file, BestConfiguration, "choose again with kf_find_best_configuration")
    _warn_of_later_trainings(file, best.models(results))
    return best


def _warn_of_later_trainings(file: Path, models: Mapping[Path, Sequence[int]]) -> None:
    weights = [model / fold_name(fold) / FINAL for model, folds in models.items() for fold in folds]
    chosen = file.stat().st_mtime
    for later in (w.parent for w in weights if w.is_file() and w.stat().st_mtime > chosen):
        logging.getLogger(__name__).warning(
            "%s: chosen before %s was trained; choose again with kf_find_best_configuration %s",
            file,
            later,
            file.parent.parent.name,
        )


def home_of(folders: Folders, dataset: str) -> Path:
    """The folder of the choice for a dataset."""
    return folders.results / dataset / HOME


def write_best(folders: Folders, found: BestConfiguration, report: str) -> Path:
    """Write best_configuration.json, table.md and prediction_commands.txt, and return their folder."""
    home = home_of(folders, found.dataset)
    write_text(home / "best_configuration.json", found.model_dump_json(indent=2) + "\n")
    write_text(home / "table.md", report)
    write_text(home / "prediction_commands.txt", found.prediction + "\n")
    return home


def _kept_text(kept: Kept) -> str:
    number = "component" if kept.components == 1 else f"{kept.components} components"
    gain = interval_text(Interval(kept.difference, kept.low, kept.high), "+.4f")
    return f"- {kept.structure}: the largest {number} alone, as in the training labels: Dice {gain}"
