"""Structures and pseudo-labels of the study of few labels, counted by hand."""

from pathlib import Path

import numpy as np

from kneeformer.data.storage import CaseRecord, Origin, open_case, relabel_case, save_case
from kneeformer.labels import LabelScheme
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import Part, ScoreTable, rows_of
from kneeformer.metrics.surface_distance import HD95
from kneeformer.studies.label_details import pseudo_labels_csv, structures_csv

SCHEME = LabelScheme.from_json({"background": 0, "femur": 1})
SHAPE = (2, 2, 5)


def test_each_structure_has_dice_and_distance_over_seeds_and_subjects() -> None:
    def seed(better: float) -> ScoreTable:
        values = {"a": (0.5 + better, 3.0), "b": (0.7 + better, 1.0)}
        rows = (
            row
            for case, (overlap, distance) in values.items()
            for name, share in (("femur", 1.0), ("tibia", 0.5))
            for row in rows_of(case, Part(name), {DICE: share * overlap, HD95: distance})
        )
        return ScoreTable(tuple(rows), subjects={"a": "a", "b": "b"})

    lines = structures_csv({(5, "A"): [seed(0.0), seed(0.1)], (None, "A"): [seed(0.0)]}).splitlines()
    means = [line.split(",")[:5] for line in lines[1:]]
    assert [m[:4] for m in means[:2]] == [["5", "A", "femur", "Dice"], ["5", "A", "femur", "HD95_mm"]]
    assert np.allclose([float(m[4]) for m in means], [0.65, 2, 0.325, 2, 0.6, 2, 0.3, 2])
    assert means[-1][:3] == ["all", "A", "tibia"]


def stored(prepared: Path, name: str, labels: np.ndarray | None) -> None:
    record = CaseRecord(
        origin=Origin(settings="", files=""), shape=SHAPE, spacing=(1, 1, 1), orientation="SPL", points={}
    )
    save_case(prepared, name, np.zeros((1, *SHAPE), np.float32), labels, record, SHAPE)


def test_pseudo_labels_are_scored_where_they_are_trusted_and_the_labels_known(tmp_path: Path) -> None:
    prepared, training = tmp_path / "prepared", tmp_path / "training"
    true, pseudo = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.int16)
    true[..., :2], pseudo[..., 1:3] = 1, 1  # half of each is also of the other
    pseudo[0, :, 2] = -1  # of 8 predicted voxels two are not trusted: 2 x 4 / (6 + 8)
    stored(prepared, "known", true)
    stored(prepared, "unknown", None)
    for name in ("known", "unknown"):
        relabel_case(open_case(prepared, name), training / "pseudo_labels" / "round_2", pseudo, {}, SHAPE)
    trainings = {(5, "C"): [training], (5, "A"): [tmp_path]}
    _, line = pseudo_labels_csv(trainings, prepared, SCHEME, str).splitlines()
    assert line.split(",")[:6] == ["5", "C", "1", "2", "femur", "1"]
    assert line.split(",")[6] == "0.571429"


def test_intervals_of_pseudo_labels_are_over_persons_and_ignored_voxels_do_not_count(tmp_path: Path) -> None:
    prepared, folder = tmp_path / "prepared", tmp_path / "training" / "pseudo_labels" / "round_1"
    scheme = LabelScheme.from_json({"background": 0, "femur": 1, "ignore": 2})
    true, pseudo = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.int16)
    true[..., :2], true[..., 2:4] = (
        1,
        2,
    )  # of 20 predicted voxels 8 are true and 8 are ignored: 2 x 8 / (8 + 12)
    for name in ("a_L", "a_R"):
        stored(prepared, name, true)
        relabel_case(open_case(prepared, name), folder, pseudo, {}, SHAPE)
    for person, interval in ((lambda name: name[0], ("", "")), (str, ("0.8", "0.8"))):
        _, line = pseudo_labels_csv({(5, "C"): [folder.parents[1]]}, prepared, scheme, person).splitlines()
        assert (*line.split(",")[5:7], *line.split(",")[7:9]) == ("2", "0.8", *interval)
