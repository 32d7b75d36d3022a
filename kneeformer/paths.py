"""Paths: the three folders, and the names of datasets, folds and checkpoints inside them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kneeformer.errors import KneeformerError

DATASET_PATTERN = re.compile(r"Dataset(\d{3})_(.+)")
PLAIN_NAME = r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}"
PLANS = {"default": "kfPlans", "paper": "paperPlans"}  # planner: name of the plan it writes
FINAL, BEST, LATEST = "checkpoint_final.pt", "checkpoint_best.pt", "checkpoint_latest.pt"
PSEUDO_LABELS = "pseudo_labels"  # folder in that of a training with a teacher, with one folder per round


@dataclass(frozen=True)
class Folders:
    """The three folders of the convention."""

    raw: Path
    preprocessed: Path
    results: Path

    @classmethod
    def from_environment(cls, *needed: str) -> "Folders":
        """Read kf_raw, kf_preprocessed and kf_results.

        Args:
            needed: "raw", "preprocessed", "results"; by default all. The others may be unset: they are then
                os.devnull, which holds nothing.

        Raises:
            KneeformerError: one that is needed is not set; the text shows the export line to type.
        """
        names = ("raw", "preprocessed", "results")
        found = {name: os.environ.get(f"kf_{name}") or os.devnull for name in names}
        missing = [name for name in needed or names if found[name] == os.devnull]
        if missing:
            lines = "\n".join(f'    export kf_{name}="$HOME/kneeformer/{name}"' for name in missing)
            raise KneeformerError(
                f"{', '.join(f'kf_{name}' for name in missing)} not set: kneeformer does not know where "
                f"its data lives. Choose folders and type:\n{lines}"
            )
        return cls(**{name: Path(value).expanduser().absolute() for name, value in found.items()})

    def resolve(self, dataset: int | str) -> str:
        """Full dataset name, e.g. "Dataset001_Knee", from a number (1, "001") or the name itself.

        Raises:
            KneeformerError: nothing or more than one dataset answers to it.
        """
        roots = [root for root in (self.raw, self.preprocessed, self.results) if root.is_dir()]
        known = sorted(
            {
                p.name
                for root in roots
                for p in root.iterdir()
                if p.is_dir() and DATASET_PATTERN.fullmatch(p.name)
            }
        )
        text, places = str(dataset), ", ".join(map(str, roots)) or "folders that do not exist"
        if text.isdigit():
            matches = [n for n in known if int(n[7:10]) == int(text)]
        else:
            matches = [n for n in known if n == text]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise KneeformerError(
                f"dataset number {text} is used by {' and '.join(matches)}: rename one of the folders "
                f"in {places}, or give the full name"
            )
        raise KneeformerError(
            f"no dataset {text!r} in {places}. Folders there must be called Dataset001_Name; known: "
            f"{', '.join(known) or 'none'}"
        )

    def plan_file(self, dataset: str, plans: str = "kfPlans") -> Path:
        """The file of a plan. Raises KneeformerError: `plans` is not a plain file name."""
        _refuse_a_path(plans, "-p")
        return self.preprocessed / dataset / f"{plans}.json"

    def model(self, dataset: str, configuration: str, plans: str = "kfPlans") -> Path:
        """Folder of a trained configuration; its folds are `fold_0`, `fold_1`, ... `fold_all`.

        Raises:
            KneeformerError: a name would lead out of the dataset's folder.
        """
        _refuse_a_path(plans, "-p")
        _refuse_a_path(configuration, "configuration")
        return self.results / dataset / f"{plans}__{configuration}"


def is_plain_name(text: str) -> bool:
    """True where a text is a file name alone, not a path to another folder."""
    return re.fullmatch(PLAIN_NAME, text) is not None


def _refuse_a_path(name: str, of: str) -> None:
    if not is_plain_name(name):
        raise KneeformerError(f"{of} {name!r}: give a name alone, without a folder or .json; e.g. kfPlans")


def refuse_in_raw(output: Path) -> None:
    """Raises KneeformerError: an output folder, which need not exist, lies in kf_raw, links followed."""
    variable = "kf_raw"
    raw, real = Path(os.environ.get(variable) or os.devnull).expanduser(), Path(os.path.realpath(output))
    around = (folder for folder in (real, *real.parents) if folder.exists())
    if raw.is_dir() and any(folder.samefile(raw) for folder in around):
        raise KneeformerError(
            f"{output}: lies in {variable} ({raw}), where files are only read; choose a folder elsewhere"
        )


def fold_name(fold: int | str) -> str:
    """ "fold_0" or "fold_all" from 0, "0", "fold0", "fold_0" or "all".

    Raises:
        KneeformerError: it is none of these.
    """
    match = re.fullmatch(r"(?:fold_?)?(\d+|all)", str(fold))
    if not match:
        raise KneeformerError(f"fold {fold!r} is not a fold: give 0, fold0 or all")
    return f"fold_{match.group(1)}"
