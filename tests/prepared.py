"""A dataset whose files are named and empty, and its prepared cases, each of which can be told by a voxel."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.dataset import Dataset
from kneeformer.data.files import write_json
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.paths import Folders
from kneeformer.plans import Plan, parse_plan
from kneeformer.tasks.cases import StoredCases
from kneeformer.workflows.prepared import files_digest, settings_digest
from kneeformer.workflows.request import Request
from kneeformer.workflows.training_cases import learning_cases

SHAPE = (4, 8, 8)
LABELS = {"background": 0, "femur": 1}
NAME, OTHER = "Dataset001_Knee", "Dataset002_More"
LABELLED = ["a_00m", "a_12m", "b_00m", "c", "d_V1", "e"]
UNLABELLED = ["a_24m", "b_12m", "c_T2", "d_V2", "f_00m", "f_12m", "g", "t_12m"]
TESTS = ["t_00m", "g"]
SPLITS = [
    {"train": ["b_00m", "c", "d_V1", "e"], "val": ["a_00m", "a_12m"]},
    {"train": ["a_00m", "a_12m", "e"], "val": ["b_00m", "c", "d_V1"]},
]
MAE, VIT = Request(NAME, "3d_mae", 0), Request(NAME, "3d_vit", 0)


def plan() -> Plan:
    """Crops as large as the cases, changed by nothing: a voxel that is read is a voxel of its case."""
    content: dict[str, Any] = {
        "dataset": {"name": NAME, "channel_names": ["PD"], "labels": LABELS, "file_ending": ".nrrd"},
        "configurations": {
            "3d_vit": {
                "task": "segmentation",
                "preprocessing": {
                    "folder": "3d_vit",
                    "spacing": [1, 1, 1],
                    "orientations": ["SPL"],
                    "median_shape": SHAPE,
                    "normalisation": [{"kind": "none"}],
                },
                "network": {
                    "stem": [{"channels": 12, "stride": [2, 4, 4], "kernel": [3, 3, 3]}],
                    "width": 12,
                    "depth": 1,
                    "heads": 2,
                },
                "training": {
                    "crop": SHAPE,
                    "batch_size": 8,
                    "epochs": 1,
                    "steps_per_epoch": 1,
                    "learning_rate": 0.001,
                },
                "augmentation": {
                    f"{change}_probability": 0
                    for change in ("affine", "noise", "blur", "brightness", "contrast", "gamma")
                }
                | {"low_resolution_probability": 0},
                "inference": {"whole_volume_tokens": 1000},
            },
            "3d_mae": {"inherits_from": "3d_vit", "task": "pretraining", "masking": {}},
        },
    }
    return parse_plan(content, "test")


@dataclass(frozen=True)
class Place:
    """Datasets whose files are named and empty, and prepared cases, each filled with a number of its own."""

    folders: Folders

    @property
    def raw(self) -> Path:
        return self.folders.raw / NAME

    @property
    def prepared(self) -> Path:
        return self.folders.preprocessed / NAME / "3d_vit"

    def write(self, name: str, parts: dict[str, Iterable[str]], **description: Any) -> None:
        folder = self.folders.raw / name
        write_json(
            folder / "dataset.json",
            {"channel_names": {"0": "PD"}, "labels": LABELS, "file_ending": ".nrrd", **description},
        )
        for part, cases in parts.items():
            for case in cases:
                file = folder / part / f"{case}_0000.nrrd"
                file.parent.mkdir(exist_ok=True)
                file.touch()
                if part == "imagesTr":
                    label = folder / "labelsTr" / f"{case}.nrrd"
                    label.parent.mkdir(exist_ok=True)
                    label.touch()

    def prepare(self, cases: Iterable[str]) -> None:
        for case in cases:
            record = CaseRecord(
                origin=self.origin(case),
                shape=SHAPE,
                spacing=(1, 1, 1),
                orientation="SPL",
                points={"femur": [(1, 1, 1)]},
            )
            image = np.full((1, *SHAPE), number_of(case), np.float32)
            labels = np.zeros(SHAPE, np.uint8) if case in LABELLED else None
            save_case(self.prepared, case, image, labels, record, SHAPE)

    def origin(self, case: str) -> Origin:
        """Of a case as its files and the plan are now."""
        dataset = Dataset.open(self.folders.raw / NAME)
        (found,) = [c for c in (*dataset.training_cases(), *dataset.unlabelled_cases()) if c.name == case]
        settings = plan().configuration("3d_vit").preprocessing
        return Origin(
            settings=settings_digest(settings, LABELS),
            files=files_digest(found),
        )

    def learnt(self, request: Request) -> tuple[set[str], set[str]]:
        """Names of the cases to learn from, and to watch."""
        training, validation = self.cases(request)
        assert len(set(training.cases)) == len(training.cases)
        return {c.name for c in training.cases}, {c.name for c in validation.cases}

    def cases(self, request: Request) -> tuple[StoredCases, StoredCases]:
        return learning_cases(self.folders, request, plan(), lambda *_: None)


def number_of(case: str) -> int:
    return 1 + [*LABELLED, *UNLABELLED].index(case)
