"""Checks of output paths: not in a dataset, not over an input, no file for two cases."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from kneeformer.data.dataset import Case, is_named_as_scan
from kneeformer.data.files import clear_unfinished
from kneeformer.data.images import files_of, written_endings
from kneeformer.errors import KneeformerError
from kneeformer.workflows.inputs import Inputs
from kneeformer.workflows.predicted_by import PREDICTED_BY

SUMMARY = ("summary.json", "summary.csv")  # what kf_evaluate writes beside the predictions
PREVIEW = "preview.png"  # of the first case


def _in_a_dataset(output: Path) -> list[str]:
    """A line if the folder, or its parent, has a dataset.json."""
    around = next((p for p in _upwards(output)[:2] if (p / "dataset.json").is_file()), None)
    if around is None:
        return []
    file = around / "dataset.json"
    return [f"{output}: belongs to the dataset of {file}, which is only read; give another folder with -o"]


def _among_scans(inputs: Inputs, output: Path) -> list[str]:
    """A line if the folder holds scans called CASE: a later call would take predictions for scans."""
    images = [case.images[0] for case in inputs.cases] if not inputs.series else []
    if any(_same(output, folder) for folder in {i.parent for i in images if not is_named_as_scan(i)}):
        return [f"{output}: holds scans called CASE, as predictions are; give another folder with -o"]
    return []


def refuse_outputs(
    inputs: Inputs, cases: Sequence[Case], output: Path, outputs: Sequence[str], ending: str
) -> None:
    """Refuse to write where files would be lost or mixed up.

    Args:
        cases: the cases of the inputs that this call predicts.
        outputs: `PredictiveTask.outputs` of the task, and further suffixes.

    Raises:
        KneeformerError: the output is a file or belongs to a dataset; an input would be overwritten; two
            cases would share a file; two input files are the same case. All reasons are in one list.
    """
    if output.is_file():
        raise KneeformerError(f"{output}: is a file; give a folder with -o")
    faults = [
        *_in_a_dataset(output),
        *_among_scans(inputs, output),
        *inputs.duplicates,
        *shared_outputs((c.name for c in inputs.cases), outputs, ending),
        *_overwritten(inputs, cases, output, outputs, ending),
    ]
    if faults:
        lines = "".join(f"\n  {line}" for line in faults)
        raise KneeformerError(
            f"{output}: nothing is predicted, because files would be lost or mixed up:{lines}"
        )


def shared_outputs(cases: Iterable[str], outputs: Sequence[str], ending: str) -> list[str]:
    """A line for each file that two cases would write, or a case and a command."""
    writers: dict[str, list[str]] = defaultdict(list)
    for case in sorted(set(cases)):
        for file in output_files(case, outputs, ending):
            writers[file.casefold()].append(case)  # K01 and k01 are the same file on many disks
    lines = [
        f"{file}: a file of {' and of '.join(names)}; rename one of these cases"
        for file, names in writers.items()
        if len(names) > 1
    ]
    others = {**dict.fromkeys(SUMMARY, "kf_evaluate"), **dict.fromkeys((PREVIEW, PREDICTED_BY), "kf_predict")}
    taken = [(name, command) for name, command in others.items() if name in writers]
    return lines + [f"{name}: a file of {command}, too; rename the case" for name, command in taken]


def _overwritten(
    inputs: Inputs, cases: Sequence[Case], output: Path, outputs: Sequence[str], ending: str
) -> list[str]:
    """A line for each existing file that predicting the cases would overwrite.

    These are the inputs, also through links, and all files in a folder of inputs, which may be the user's.
    """
    read = (file for case in cases for path in case.files for file in files_of(path))
    files = {identity for file in read if (identity := _identity(file))}
    among_inputs = any(_same(output, folder) for folder in inputs.folders)
    written = [output / file for case in cases for file in output_files(case.name, outputs, ending)]
    written += [output / PREVIEW] if cases and cases[0] is inputs.cases[0] else []
    lines = []
    for path in written:
        identity = _identity(path)
        if identity in files:
            lines.append(f"{path}: would be overwritten, and is an input; give another folder with -o")
        elif identity is not None and among_inputs:
            lines.append(
                f"{path}: exists in a folder of inputs and would be overwritten; remove it or give "
                f"another folder with -o"
            )
    return lines


def remove_leftovers(cases: Sequence[Case], output: Path, outputs: Sequence[str], ending: str) -> None:
    """Remove the unfinished files of these cases; other calls may be writing the others."""
    clear_unfinished(output, {file for c in cases for file in output_files(c.name, outputs, ending)})


def output_files(case: str, outputs: Sequence[str], ending: str) -> list[str]:
    """Names of all files that may be written of a case, the voxels beside a .mhd too.

    Args:
        ending: of its volumes; "" where none is written.
    """
    endings = written_endings(ending) if ending else (ending,)
    return [*dict.fromkeys(f"{case}{output.replace('*', each)}" for output in outputs for each in endings)]


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file behind a path, links followed, however it is spelt; None without one."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _same(one: Path, other: Path) -> bool:
    return _identity(one) is not None and _identity(one) == _identity(other)


def _upwards(folder: Path) -> list[Path]:
    """The folder, which need not exist, and its parents, links followed."""
    real = Path(os.path.realpath(folder))
    return [real, *real.parents]
