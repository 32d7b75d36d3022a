"""Prediction of a folder, case by case: one that fails does not stop the next."""

import logging
import os
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kneeformer.data.cluster import current_cluster, require_shared
from kneeformer.data.dataset import Case
from kneeformer.data.dicom_segmentation import reference_problems, require_highdicom
from kneeformer.data.disk import DiskError, in_words, require_writable
from kneeformer.data.files import write_text
from kneeformer.data.images import files_of, output_ending
from kneeformer.data.processes import default_processes, run_each
from kneeformer.errors import KneeformerError, is_memory_short, named, one_line
from kneeformer.progress import Progress
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.earlier_predictions import earlier_predictions, warn_of_kept, warn_of_others
from kneeformer.workflows.inputs import Inputs, Sources, gather_inputs, input_problems
from kneeformer.workflows.meshes import MeshFiles
from kneeformer.workflows.outputs import refuse_outputs, remove_leftovers
from kneeformer.workflows.predict import NO_EXTRAS, Extras, Predictor
from kneeformer.workflows.predicted_by import PREDICTED_BY, predicted_since, record
from kneeformer.workflows.series_table import write_series_table
from kneeformer.workflows.warning_log import keeping_warnings, passing_warnings_to

_log = logging.getLogger(__name__)


def predict_folder(
    predictor: Predictor,
    sources: Sources,
    output: Path,
    watch: Progress,
    extras: Extras = NO_EXTRAS,
    skip_existing: bool = False,
    part: tuple[int, int] = (0, 1),
) -> list[str]:
    """Predict every case of a folder, or one file, into a folder; preview.png shows the first case.

    Every input is opened once before the work and its problems are listed; a file that crashes its reader
    costs only its own case. For DICOM, `dicom_series.csv` says which case is which series. Warnings are kept
    in `warnings.log`, and model and settings in `predicted_by.json`.

    Args:
        skip_existing: skip cases that are predicted already, unless the prediction is older than their
            files, or by another model or other settings.
        part: (id, number of parts): this call takes every n-th case, from the id-th.

    Returns:
        A line for each case that could not be predicted; the others are written.

    Raises:
        KneeformerError: nothing to predict, nowhere to write it, or files would be overwritten, all in one
            list; or no record says what made the predictions that `skip_existing` is to skip.
        DiskError: the disk is full or fails; earlier predictions are kept.
    """
    require_writable(output)
    dataset, task = predictor.plan.dataset, predictive(predictor.configuration.task)
    ending = output_ending(dataset.file_ending)
    inputs = gather_inputs(sources, predictor.configuration, dataset)
    made_by = {**predictor.identity(), **extras.identity()}
    cases = inputs.cases[part[0] :: part[1]]
    if skip_existing:
        cases = _not_predicted(inputs, cases, output, ending, predicted_since(output, made_by))
    outputs = (*task.outputs, *_mesh_outputs(predictor, extras.meshes))
    if extras.dicom_seg:
        _require_dicom(sources.scans, predictor, inputs)
        outputs = (*outputs, ".dcm")
    refuse_outputs(inputs, cases, output, outputs, ending)
    remove_leftovers(cases, output, outputs, ending)
    require_shared(*sources.given, output=output)
    unmarked = None if predictor.finder is None else predictor.finder.refusal()
    another_model = record(output, made_by)
    earlier = earlier_predictions(cases, output, ending)
    with keeping_warnings(output):
        if another_model:
            warn_of_others(inputs.cases, output, outputs, ending)
        problems = input_problems(cases, dataset, unmarked, sources.other_sides, watch)
        if extras.dicom_seg:
            problems = [[*p, *reference_problems(c.images[0])] for c, p in zip(cases, problems, strict=True)]
        if inputs.series:
            write_series_table(output, inputs.series)
        failed = [line for faults in problems for line in faults]
        good = [case for case, faults in zip(cases, problems, strict=True) if not faults]
        failed += _predict_all(good, _CaseWriter(predictor, output, extras, inputs.cases[0]), watch)
        warn_of_kept(earlier, output)
        return failed


def _not_predicted(
    inputs: Inputs, cases: list[Case], output: Path, ending: str, since: float | None
) -> list[Case]:
    """The cases without a prediction newer than their files and `since`.

    Raises:
        KneeformerError: there are predictions, and `since` is None: no record says what made them.
    """
    done = {case.name: output / f"{case.name}{ending}" for case in cases}
    there = [case for case in cases if done[case.name].is_file()]
    if since is None:
        if there:
            raise KneeformerError(
                f"{output}: {len(there)} cases have a file there, and no readable {PREDICTED_BY} says what "
                f"predicted them; give another folder with -o, or omit --continue_prediction to write over "
                f"them"
            )
        return cases
    made = {case.name: done[case.name].stat() for case in there}
    kept = {
        case.name
        for case in there
        if made[case.name].st_mtime >= since and _is_newer(made[case.name], inputs.files(case))
    }
    if kept:
        _log.info("%s: %d of %d cases are predicted already and kept", output, len(kept), len(cases))
    if outdated := len(there) - len(kept):
        _log.warning(
            "%s: %d predictions are older than their scans, or of another model or other settings: they are "
            "made again",
            output,
            outdated,
        )
    return [case for case in cases if case.name not in kept]


def _is_newer(made: os.stat_result, paths: list[Path]) -> bool:
    """True if no file of these images was written, or put in its place, since a file was made.

    Copies may keep an old time of writing (`rsync -a`, `cp -p`); their second time says when they came.
    """
    states = [file.stat() for path in paths for file in files_of(path)]
    return all(made.st_mtime >= s.st_mtime and made.st_ctime >= s.st_ctime for s in states)


@dataclass(frozen=True)
class _CaseWriter:
    """Predicts cases into a folder.

    Attributes:
        previewed: the case that preview.png shows.
    """

    predictor: Predictor
    output: Path
    extras: Extras
    previewed: Case

    def __call__(self, case: Case) -> list[str]:
        """Predict a case; return a line if that failed. Only faults of the disk are raised.

        The traceback of an unexpected fault is kept in CASE.traceback.txt.
        """
        kept = self.output / f"{case.name}.traceback.txt"
        try:
            self.predictor.predict_case(case, self.output, self.extras, preview=case == self.previewed)
            kept.unlink(missing_ok=True)
        except DiskError:
            raise
        except KneeformerError as fault:
            return [str(fault)]
        except Exception as fault:
            text = f"{case.images[0]}: {one_line(fault)}"
            if is_memory_short(fault):
                return [f"{text}; {_memory_remedy(fault, self.extras.probabilities)}"]
            if isinstance(fault, OSError):
                return [f"{case.images[0]}: {in_words(fault)}"]
            with suppress(DiskError):
                write_text(kept, "".join(traceback.format_exception(fault)))
            return [f"{text}; this is a bug of kneeformer: please report it with {kept}"]
        return []

    def on_worker(self, case: Case) -> tuple[list[str], list[str]]:
        """As a call, on the best device of this machine; return the warnings as well."""
        warnings: list[str] = []
        with passing_warnings_to(warnings.append):
            return replace(self, predictor=self.predictor.on(None))(case), warnings


def _predict_all(cases: list[Case], writer: _CaseWriter, watch: Progress) -> list[str]:
    """Predict cases here, one after the other, or on the cluster; return a line for each that failed."""
    failed: list[str] = []
    if current_cluster() is None:
        for done, case in enumerate(cases, 1):
            failed += writer(case)
            watch("Predicting", done, len(cases))
        return failed
    outcomes = run_each(
        replace(writer, predictor=writer.predictor.on("cpu")).on_worker,
        cases,
        [str(case.images[0]) for case in cases],
        default_processes(),
        lambda done: watch("Predicting", done, len(cases)),
    )
    for case, outcome in zip(cases, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failed.append(named(case.images[0], outcome))
            continue
        lines, warnings = outcome
        failed += lines
        for warning in warnings:
            _log.warning("%s", warning)
    return failed


def _mesh_outputs(predictor: Predictor, meshes: MeshFiles | None) -> tuple[str, ...]:
    """As `MeshFiles.outputs`. Raises KneeformerError: the task predicts no structures."""
    task = predictor.configuration.task
    if meshes is None:
        return ()
    if not predictive(task).predicts_structures:
        raise KneeformerError(f"task {task!r} predicts no label maps of structures: omit --save_mesh")
    return meshes.outputs(predictor.plan.dataset.scheme)


def _require_dicom(source: Path, predictor: Predictor, inputs: Inputs) -> None:
    """Raises KneeformerError: DICOM SEG cannot be written for these inputs, by this task, or here at all."""
    task = predictor.configuration.task
    if not predictive(task).predicts_structures:
        raise KneeformerError(f"task {task!r} predicts no label maps of structures: omit --save_dicom_seg")
    if not inputs.series:
        raise KneeformerError(
            f"{source}: no DICOM series, to which a DICOM SEG could refer: omit --save_dicom_seg, or give a "
            f"folder of DICOM series"
        )
    require_highdicom()


def _memory_remedy(fault: Exception, probabilities: bool) -> str:
    if "CUDA" in str(fault) or "MPS" in str(fault):
        return "predict it with -device cpu"
    without = "omit --save_probabilities, " if probabilities else ""
    return f"{without}predict it while nothing else runs, or crop the scan to what is to be predicted"
