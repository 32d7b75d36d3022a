"""The report of a training or of predictions: one HTML file made from the files of a folder."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kneeformer import __version__
from kneeformer.engine.log import TEXT, read_log
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme
from kneeformer.metrics.summary import Summary, read_summary
from kneeformer.plans import read_fold_plan
from kneeformer.plans.table import decisions, duration
from kneeformer.progress import Progress
from kneeformer.reporting.report_page import Chart, Page, Section, Table, has_viewer, write_page
from kneeformer.reporting.score_sections import case_table, structure_table, worst_first
from kneeformer.reporting.training_curves import training_curves_svg
from kneeformer.workflows.fold_folder import Run, read_run
from kneeformer.workflows.fold_state import RUN
from kneeformer.workflows.report_cases import PredictedFiles, case_section, picture_section, predicted_files
from kneeformer.workflows.warning_log import kept_warnings

_log = logging.getLogger(__name__)

_MOST_BYTES = 15_000_000  # of a page, which can then be sent and opened anywhere
_LIBRARY_BYTES, _OTHER_BYTES = 5_000_000, 500_000
_VALIDATION_CASES = 3  # shown with slices and surfaces: the worst


def write_report(
    folder: Path, images: Path | None, scheme: LabelScheme | None, output: Path, watch: Progress
) -> None:
    """Write the report of a trained fold's folder, or of a folder of predictions.

    Args:
        images: folder of the CASE_0000 files that were predicted; None leaves the slices without a scan.
        scheme: meaning of label maps; None takes that of their headers or of the training's plan.

    Raises:
        KneeformerError: the folder is neither, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise KneeformerError(f"{folder}: no such folder; give that of a trained fold, or of predictions")
    if (folder / RUN).is_file():
        page = _training_page(folder, images, scheme, watch)
    else:
        name, sections = folder.resolve().name, prediction_sections(folder, images, scheme, watch)
        facts = {"Folder": name, "Cases": str(sum(section.is_case for section in sections))}
        page = Page(f"Predictions in {name}", "Predictions", facts, sections, kept_warnings(folder))
    publish(page, output)


def publish(page: Page, output: Path) -> None:
    """Write a page, with date and version at its foot."""
    if not has_viewer():
        _log.warning(
            "the report has no interactive surfaces; for these type pip install 'kneeformer[report]'"
        )
    written = time.strftime("%Y-%m-%d %H:%M")
    footer = f"Written {written} by kneeformer {__version__}. For research; not a medical device."
    write_page(replace(page, footer=footer), output)


def prediction_sections(
    folder: Path,
    images: Path | None,
    scheme: LabelScheme | None,
    watch: Progress,
    most: int | None = None,
) -> list[Section]:
    """The scores, if there are any, and the cases of a folder of predictions; arguments as `write_report`.

    Args:
        most: number of cases shown with slices and surfaces, the others by their pictures; None shows all.

    Raises:
        KneeformerError: there is no case; a file is damaged.
    """
    cases = predicted_files(folder, images)
    if not cases:
        raise KneeformerError(f"{folder}: holds neither {RUN} of a training nor predicted volumes")
    scores = []
    if (folder / "summary.json").is_file():
        summary = read_summary(folder)
        scores.append(_scores(summary))
        cases = _in_order(cases, summary)
    return [*scores, *_cases(cases, scheme, scores, watch, len(cases) if most is None else most)]


def _training_page(folder: Path, images: Path | None, scheme: LabelScheme | None, watch: Progress) -> Page:
    plan, run = read_fold_plan(folder), read_run(folder)
    ((name, configuration),) = plan.configurations.items()
    lines, validation = read_log(folder / "training_log.jsonl"), folder / "validation"
    sections, cases = [], predicted_files(validation, images) if validation.is_dir() else []
    if (validation / "summary.json").is_file():
        summary = read_summary(validation)
        sections.append(_scores(summary))
        cases = _in_order(cases, summary)
    if lines:
        what = "Loss of the training and of validation crops, and their scores, by steps"
        charts = [Chart(training_curves_svg(lines), what)]
        text = _text(folder / TEXT)
        sections.append(Section("Training", charts=charts, code=text, code_title="The log"))
    reasons = Table("The plan in words", ("Setting", "Reason"), decisions(configuration), is_prose=True)
    sections.append(Section("Plan", tables=[reasons], code=plan.to_text(), code_title="All settings"))
    meaning = scheme or plan.dataset.scheme
    shown = _cases(cases, meaning, sections, watch, _VALIDATION_CASES)
    facts = {"Dataset": plan.dataset.name, **_run_facts(run, lines)}
    title, ordered = f"{name}, {folder.name}", [*sections[:1], *shown, *sections[1:]]
    return Page(title, "Training", facts, ordered, kept_warnings(folder))


def _run_facts(run: Run, lines: Sequence[dict[str, object]]) -> dict[str, str]:
    steps = [line["step"] for line in lines if "loss" in line]
    seconds = [float(str(line["seconds"])) for line in lines if "seconds" in line]
    facts = {
        "Started": run.started,
        "Device": f"{run.device}, {run.threads} threads",
        "Machine": run.machine,
        "Seed": str(run.seed),
        "kneeformer, torch": f"{run.kneeformer}, {run.torch}",
    }
    if steps:
        facts["Steps"] = str(steps[-1])
    if seconds:
        facts["Training time"] = duration(seconds[-1] / 3600)
        facts["A step"] = f"{seconds[-1] / max(1, int(str(steps[-1]))):.2f} s, validation crops included"
    if run.minutes is not None:
        facts["Ended by"] = f"the clock, after {run.minutes:g} min"
    if run.set:
        facts["Set"] = ", ".join(run.set)
    if run.pretrained is not None:
        facts["Pre-trained weights"] = str(run.pretrained.file)
    return facts


def _scores(summary: Summary) -> Section:
    return Section("Scores", tables=[structure_table(summary), case_table(summary)])


def _in_order(cases: Sequence[PredictedFiles], summary: Summary) -> list[PredictedFiles]:
    """The worst first; those without scores last."""
    rank = {case.case: number for number, case in enumerate(worst_first(summary))}
    return sorted(cases, key=lambda case: (rank.get(case.name, len(rank)), case.name))


def _cases(
    cases: Sequence[PredictedFiles],
    scheme: LabelScheme | None,
    others: Sequence[Section],
    watch: Progress,
    most: int,
) -> list[Section]:
    """As many cases as the page has room for: the first `most` with slices and surfaces, then pictures."""
    room = _MOST_BYTES - _LIBRARY_BYTES - _OTHER_BYTES - sum(section.bytes for section in others)
    sections: list[Section] = []
    for done, case in enumerate(cases, 1):
        section = case_section(case, scheme) if done <= most else picture_section(case)
        if section.bytes > room:
            most = 0
            section = picture_section(case)
        if section.bytes > room:
            names = ", ".join(left.name for left in cases[done - 1 :])
            sections.append(Section("More cases", text=f"The page has no room for {names}."))
            break
        if section.bytes or section.warnings:
            room -= section.bytes
            sections.append(section)
        watch("Report", done, len(cases))
    return sections


def _text(file: Path) -> str:
    """Text of a log; "" without one."""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
