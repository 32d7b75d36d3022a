"""Pseudo-labels and their teacher, on arrays whose values are worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import plan
from torch import Tensor, nn

from kneeformer.config import TeacherSettings, TrainingSettings
from kneeformer.data.storage import CaseRecord, Origin, open_case, record_file, save_case
from kneeformer.engine.crops import CropBatches
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import StoredCases
from kneeformer.tasks.segmentation.labelled_structures import LabelledStructure, labelled_structures
from kneeformer.tasks.segmentation.pseudo_labelled import HalfPseudoLabelled
from kneeformer.tasks.segmentation.pseudo_labels import predicted_labels, pseudo_labels
from kneeformer.tasks.segmentation.teacher import PseudoLabelTeacher
from kneeformer.transforms.augmentation import UNCHANGED, Augmentation

SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "tibia": [2]}, [1, 2])
SHAPE = (10, 12, 14)
CROP = (4, 6, 8)
SETTINGS = TrainingSettings(crop=CROP, batch_size=4, epochs=1, steps_per_epoch=1, learning_rate=1)


def logits_of(labels: list[int], margin: float = 5.0) -> Tensor:
    """(1, 3, 1, 1, voxels): the logit of each label is so much higher than the others."""
    return margin * torch.nn.functional.one_hot(torch.tensor(labels), 3).T.float()[None, :, None, None]


def test_what_is_not_sure_is_not_counted() -> None:
    logits = torch.cat([logits_of([0, 1, 2]), logits_of([0, 1, 2], margin=0.5)], -1)
    found = pseudo_labels(logits, SCHEME, confidence=0.8, components=(1, 1))
    assert found.flatten().tolist() == [0, 1, 2, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]
    assert pseudo_labels(logits, SCHEME, 0.0, (2, 2)).flatten().tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("components", "left"), [(1, [3]), (2, [3, 2]), (3, [3, 2, 1])])
def test_as_many_components_are_counted_as_labelled_cases_have(components: int, left: list[int]) -> None:
    found = pseudo_labels(logits_of([1, 1, 0, 1, 0, 1, 1, 1]), SCHEME, 0.8, (components, 1)).flatten()
    kept = {3: [5, 6, 7], 2: [0, 1], 1: [3]}
    wanted = sorted(voxel for size in left for voxel in kept[size])
    assert torch.nonzero(found == 1).flatten().tolist() == wanted
    assert int((found == IGNORE_INDEX).sum()) == 6 - len(wanted) and found[[2, 4]].tolist() == [0, 0]


def test_regions_are_painted_over_each_other_and_as_sure_as_the_least() -> None:
    logits = torch.tensor([[4.0, -4.0], [4.0, 4.0], [-4.0, -0.1]]).T[None, :, None, None]
    labels, confidence = predicted_labels(logits, REGIONS)
    assert labels.flatten().tolist() == [1, 2, 0]
    assert confidence.flatten().tolist() == pytest.approx([0.982, 0.982, 0.525], abs=1e-3)


class Threshold(nn.Module):
    """Femur where an image is above 1, tibia where it is above 2; as sure as the image is far from both."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(10.0))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        voxels = image[:, 0]
        scores = (torch.zeros_like(voxels), voxels - 1, 2 * voxels - 3)
        return self.steepness * torch.stack(scores, 1)


def stored(folder: Path, name: str, planes: int, value: int = 1) -> Path:
    """A case whose first planes are femur, in two pieces; the image shows them to `Threshold`."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:planes, :5], labels[:planes, 7:] = value, value
    record = CaseRecord(
        origin=Origin(settings="", files=""), shape=SHAPE, spacing=(1, 1, 1), orientation="SPL", points={}
    )
    save_case(folder, name, 1.4 * labels[None].astype(np.float32), labels, record, CROP)
    return folder / name


@pytest.fixture
def cases(tmp_path: Path) -> list[Path]:
    return [stored(tmp_path, f"case_{planes}", planes) for planes in (2, 4, 6)]


def crops(cases: list[Path], batch_size: int, items: range | None = None) -> CropBatches:
    settings = SETTINGS.model_copy(update={"batch_size": batch_size})
    return CropBatches(cases, settings, SCHEME, Augmentation(UNCHANGED, (1, 1, 1)), 3, 5, items)


def bright(tmp_path: Path) -> list[Path]:
    """A case that is tibia everywhere, by which its crops are known."""
    return [stored(tmp_path, "tibia", SHAPE[0], value=2)]


@pytest.mark.parametrize(("size", "counts"), [(4, [2, 2]), (3, [1, 2]), (1, [0, 1])])
def test_half_of_a_batch_is_pseudo_labelled_by_turns(
    tmp_path: Path, cases: list[Path], size: int, counts: list[int]
) -> None:
    batches = HalfPseudoLabelled(crops(cases, size), crops(bright(tmp_path), size))
    for step in (0, 1):
        batch = batches[step]
        assert batch["image"].shape == (size, 1, *CROP) and batch["labels"].shape == (size, *CROP)
        pseudo = [bool((labels == 2).any()) for labels in batch["labels"]]
        half = size // 2
        assert pseudo == [step == 0] * half + [step == 1] * (size - half)
        assert sum(pseudo) == counts[step]


def test_shares_of_a_batch_are_its_parts(tmp_path: Path, cases: list[Path]) -> None:
    tibia = bright(tmp_path)

    def drawn(items: range) -> dict[str, Tensor]:
        return HalfPseudoLabelled(crops(cases, 4, items), crops(tibia, 4, items))[1]

    whole, first, second = drawn(range(4)), drawn(range(1)), drawn(range(1, 4))
    assert all(torch.equal(torch.cat([first[role], second[role]]), part) for role, part in whole.items())


def test_labelled_cases_show_pieces_and_volumes(cases: list[Path]) -> None:
    femur, tibia = labelled_structures(cases, SCHEME)
    plane = 10 * SHAPE[2]
    assert femur == LabelledStructure("femur", 2, 2 * plane, 6 * plane)
    assert tibia == LabelledStructure("tibia", 1, 0, 0)


@pytest.mark.parametrize(("voxels", "plausible"), [(49, False), (50, True), (600, True), (601, False)])
def test_a_volume_is_plausible_within_twice_the_labelled_range(voxels: int, plausible: bool) -> None:
    assert LabelledStructure("femur", 1, 100, 300).is_plausible(voxels) == plausible


CONFIGURATION = (
    plan()
    .configuration("3d_vit")
    .model_copy(update={"training": SETTINGS.model_copy(update={"precision": "fp32"})})
)


def teacher(labelled: list[Path], unlabelled: list[Path]) -> PseudoLabelTeacher:
    return PseudoLabelTeacher(
        TeacherSettings(images=2),
        CONFIGURATION,
        SCHEME,
        StoredCases(labelled, unlabelled),
        labelled_structures(labelled, SCHEME),
        seed=0,
    )


def test_a_round_labels_whole_images_and_leaves_out_implausible_ones(
    tmp_path: Path, cases: list[Path]
) -> None:
    other = tmp_path / "other"
    few, none = stored(other, "few", 3), stored(other, "none", 0)
    made = teacher(cases, [few, none])
    labelling = made.label(Threshold(), tmp_path / "round_1")
    assert labelling.figures["images"] == 1 and labelling.fault is None
    assert not record_file(tmp_path / "round_1", "none").exists()
    case = open_case(other, "few", relabelled=tmp_path / "round_1")
    assert np.array_equal(case.labels[...], open_case(other, "few").labels[...]), "of a network that is right"
    assert np.array_equal(case.image[...], open_case(other, "few").image[...])
    assert case.record.points["femur"] and not case.record.points["tibia"]
    batch = made.batches(tmp_path / "round_1")[0]
    assert batch["image"].shape == (4, 1, *CROP)


def test_a_round_forgets_the_labels_that_lay_there(tmp_path: Path, cases: list[Path]) -> None:
    made = teacher(cases, [stored(tmp_path / "other", "few", 3)])
    made.label(Threshold(), tmp_path / "round_1")
    made = teacher(cases, [stored(tmp_path / "other", "none", 0)])
    labelling = made.label(Threshold(), tmp_path / "round_1")
    assert labelling.fault == "none of 1 predictions has structures of a labelled volume"
    assert isinstance(made.batches(tmp_path / "round_1"), CropBatches), "of labels alone"
