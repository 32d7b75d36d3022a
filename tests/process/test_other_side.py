"""A broken bone completed by the same person's other one, by the commands a user types."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from coarse_bones import coarsen
from workplace import NAME, Workplace, read_json

from kneeformer.data.files import write_json
from kneeformer.data.images import read_image, write_image
from kneeformer.metrics.summary import read_summary
from kneeformer.phantoms.bone import LABELS, oblique_axial, scan_bone
from kneeformer.phantoms.bone_shape import BoneAnatomy, draw_pose
from kneeformer.tasks.bone_completion.fractures import hide

SEED, PERSONS, BROKEN = 5, 3, "p9_L"


@dataclass(frozen=True)
class Pairs:
    """A trained place, and a broken bone with the whole one of the other side."""

    place: Workplace
    planning: str

    @property
    def tests(self) -> Path:
        return self.place.root / "tests"

    def predict(self, output: Path, *flags: object, configuration: str = "3d_mirrored", code: int = 0) -> str:
        what = ("-i", self.tests / "broken", "-m", self.tests / "masks", "-o", output, "-d", 1)
        return self.place.run("kf_predict", *what, "-c", configuration, *flags, code=code)


def write_side(images: Path, labels: Path, person: int, side: str) -> None:
    """A person's bones are mirror images; each lies as it lies, on a grid of its own."""
    anatomy = BoneAnatomy.draw(np.random.default_rng([SEED, person]), side == "L")
    rng = np.random.default_rng([SEED, person, ord(side)])
    pose = draw_pose(rng)
    grid = oblique_axial(anatomy, pose, rng, (1.8, 1.8, 1.8))
    ct, mask = scan_bone(anatomy, pose, grid, rng)
    write_image(images / f"p{person}_{side}_0000.nrrd", ct, grid)
    write_image(labels / f"p{person}_{side}.nrrd", mask, grid)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    place = Workplace(tmp_path_factory.mktemp("pairs"))
    for person in range(PERSONS):
        for side in "LR":
            write_side(place.raw / "imagesTr", place.raw / "labelsTr", person, side)
    description = {"task": "completion", "channel_names": {"0": "CT"}, "labels": LABELS}
    write_json(place.raw / "dataset.json", {**description, "file_ending": ".nrrd"})
    tests = place.root / "tests"
    write_side(tests / "broken", tests / "whole", 9, "L")
    write_side(tests / "other", tests / "other", 9, "R")
    whole = read_image(tests / "whole" / f"{BROKEN}.nrrd")
    mask = hide(whole.array > 0, whole.grid, np.random.default_rng(0))
    write_image(tests / "masks" / f"{BROKEN}.nrrd", mask, whole.grid)
    planning = place.run("kf_plan", "-d", 1, "-np", 1)
    coarsen(place.preprocessed / "kfPlans.json", 4.0)
    place.run("kf_preprocess", "-d", 1, "-c", "3d_pca16", "-np", 1)
    for name in ("3d_mirrored", "3d_prototype"):
        place.run("kf_train", 1, name, 0)
    return Pairs(place, planning)


def assd_mm(pairs: Pairs, configuration: str) -> dict[str, float]:
    folder = pairs.place.model.parent / f"kfPlans__{configuration}" / "fold_0" / "validation"
    return {c.case: c.metrics["tibia"]["ASSD_mm"] for c in read_summary(folder).metric_per_case}


def test_it_is_planned_where_everybody_has_both_sides(pairs: Pairs, tmp_path: Path) -> None:
    assert "3d_mirrored" in pairs.planning
    place = pairs.place.copy(tmp_path / "place")
    for file in (*place.raw.glob("*Tr/p0_L*"), place.preprocessed / "splits_final.json"):
        file.unlink()
    assert "3d_mirrored" not in place.run("kf_plan", "-d", 1, "-np", 1)


def test_validation_bones_are_completed_by_their_other_sides(pairs: Pairs) -> None:
    mirrored, prototype = assd_mm(pairs, "3d_mirrored"), assd_mm(pairs, "3d_prototype")
    (split, *_) = read_json(pairs.place.preprocessed / "splits_final.json")
    assert mirrored.keys() == set(split["val"]) and len(mirrored) == 2
    assert all(mirrored[case] < 0.7 * prototype[case] for case in mirrored)


def test_a_broken_bone_is_completed_by_the_whole_one(pairs: Pairs, tmp_path: Path) -> None:
    pairs.predict(tmp_path, "--other_side", pairs.tests / "other")
    hidden = read_image(pairs.tests / "masks" / f"{BROKEN}.nrrd").array == 2
    truth = read_image(pairs.tests / "whole" / f"{BROKEN}.nrrd").array[hidden] > 0
    found = read_image(tmp_path / f"{BROKEN}_region.nrrd").array[hidden] > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93
    assert read_json(tmp_path / f"{BROKEN}.json")["warnings"] == []


def test_other_sides_are_asked_for_and_only_where_they_are_needed(pairs: Pairs, tmp_path: Path) -> None:
    assert "with --other_side" in pairs.predict(tmp_path / "a", code=1)
    other = ("--other_side", pairs.tests / "other")
    said = pairs.predict(tmp_path / "b", *other, configuration="3d_prototype", code=1)
    assert "omit --other_side" in said
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_an_other_side_is_told_of_its_case(pairs: Pairs, tmp_path: Path) -> None:
    said = pairs.predict(tmp_path / "out", "--other_side", pairs.tests / "masks", code=1)
    assert f"{BROKEN}_0000.nrrd: no other side of the same person in {pairs.tests / 'masks'}" in said
    lone = tmp_path / "lone"
    scan = read_image(pairs.tests / "other" / "p9_R_0000.nrrd")
    write_image(lone / "p9_R_0000.nrrd", scan.array, scan.grid)
    said = pairs.predict(tmp_path / "out", "--other_side", lone, code=1)
    assert str(lone / "p9_R.nrrd") in said
    assert not list((tmp_path / "out").glob("*.nrrd"))


def test_the_table_has_its_ratios_and_no_whole_bones_of_it(pairs: Pairs) -> None:
    said = pairs.place.run("kf_completion_table", 1, "-c", "3d_mirrored", "3d_prototype", "-f", 0)
    assert "against 3d_mirrored" in said
    home = pairs.place.model.parent / "kfPlans__completion_table"
    assert "3d_prototype" in (home / "whole_bones.md").read_text()
    assert "3d_mirrored" not in (home / "whole_bones.md").read_text()


def test_a_table_of_it_alone(pairs: Pairs, tmp_path: Path) -> None:
    place = pairs.place.copy(tmp_path / "place")
    said = place.run("kf_completion_table", 1, "-c", "3d_mirrored", "-f", 0)
    assert "| 3d_mirrored |" in said and "means over 0 subjects" in said


def test_the_command_for_the_best_names_other_sides(pairs: Pairs) -> None:
    pairs.place.run("kf_find_best_configuration", 1, "-f", 0)
    command = pairs.place.model.parent / "best_configuration" / "prediction_commands.txt"
    assert f'-m "$kf_raw"/{NAME}/masksTs --other_side "$kf_raw"/{NAME}/otherSidesTs' in command.read_text()
