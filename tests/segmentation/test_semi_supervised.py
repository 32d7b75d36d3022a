"""Copy-paste, pseudo-labels and their teacher, on arrays whose values are worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kneeformer.config import AugmentationSettings, TeacherSettings, TrainingSettings
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.engine.batch import Batch
from kneeformer.engine.checkpoint import load_checkpoint
from kneeformer.engine.crops import CropBatches
from kneeformer.engine.loop import ProgressEvent, train
from kneeformer.engine.losses import IGNORE_INDEX, DiceCrossEntropy
from kneeformer.engine.training_run import TrainingRun
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme
from kneeformer.paths import LATEST
from kneeformer.tasks.segmentation.copy_paste import draw_own, paste_labelled, paste_unlabelled
from kneeformer.tasks.segmentation.labelled_structures import LabelledStructure, labelled_structures
from kneeformer.tasks.segmentation.paired_crops import PairedCrops
from kneeformer.tasks.segmentation.pseudo_labels import predicted_labels, pseudo_labels
from kneeformer.tasks.segmentation.semi_supervised import PseudoLabelTeacher
from kneeformer.tasks.segmentation.task import SegmentationObjective
from kneeformer.transforms.augmentation import UNCHANGED, Augmentation

SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "tibia": [2]}, [1, 2])
SHAPE = (10, 12, 14)
CROP = (4, 6, 8)
SETTINGS = TrainingSettings(crop=CROP, batch_size=4, epochs=1, steps_per_epoch=1, learning_rate=1)


def test_a_box_of_two_thirds_an_axis_is_received_and_given_in_turn() -> None:
    own = draw_own(np.random.default_rng(0), 4, (6, 9, 3))
    box, rest = 4 * 6 * 2, 6 * 9 * 3 - 4 * 6 * 2
    assert [int(o.sum()) for o in own] in ([box, rest, box, rest], [rest, box, rest, box])
    for kept in own:
        inside = np.argwhere(kept == (kept.sum() == box))
        assert np.prod(np.ptp(inside, axis=0) + 1) == box  # one box


def test_labelled_crops_are_mixed_two_by_two() -> None:
    own = torch.tensor([[True, False], [False, True], [True, False]]).view(3, 1, 1, 2)
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).view(3, 1, 1, 1, 2)
    batch = {"image": image, "labels": image[:, 0].int(), "to_patient": torch.zeros(3, 3), "own": own}
    mixed = paste_labelled(batch)
    assert mixed["image"].flatten().tolist() == [1, 4, 1, 4, 5, 6]  # the third has no partner
    assert torch.equal(mixed["labels"], mixed["image"][:, 0].int())


def test_every_voxel_of_a_mixture_has_its_own_kind_of_label() -> None:
    own = torch.tensor([[[[True, True, False]]]])
    batch = {
        "image": torch.tensor([[[[[1.0, 1.0, 1.0]]]]]),
        "labels": torch.tensor([[[[2, IGNORE_INDEX, 2]]]], dtype=torch.int16),
        "unlabelled": torch.tensor([[[[[5.0, 5.0, 5.0]]]]]),
        "to_patient": torch.zeros(1, 3),
        "own": own,
    }
    mixed = paste_unlabelled(batch, torch.tensor([[[[1, 1, 1]]]], dtype=torch.int32), weight=0.25)
    assert mixed["image"].flatten().tolist() == [1, 1, 5]
    assert mixed["labels"].flatten().tolist() == [2, IGNORE_INDEX, IGNORE_INDEX]
    assert mixed["pseudo_labels"].flatten().tolist() == [IGNORE_INDEX, IGNORE_INDEX, 1]
    assert float(mixed["pseudo_weight"]) == 0.25


def test_the_loss_is_that_of_true_labels_and_a_part_of_that_of_pseudo_labels() -> None:
    torch.manual_seed(0)
    network, criterion = Threshold(), DiceCrossEntropy(SCHEME)
    image = torch.randn(1, 1, 2, 2, 4)
    true = torch.randint(0, 3, (1, 2, 2, 4))
    pseudo = torch.randint(0, 3, (1, 2, 2, 4))
    true[..., :2], pseudo[..., 2:] = IGNORE_INDEX, IGNORE_INDEX
    batch = {"image": image, "labels": true, "to_patient": torch.zeros(1, 3)}
    more = {"pseudo_labels": pseudo, "pseudo_weight": torch.tensor(0.5)}
    logits = network(image, torch.zeros(1, 3))
    found = SegmentationObjective(SCHEME).loss(network, {**batch, **more})
    assert torch.allclose(found, criterion(logits, true) + 0.5 * criterion(logits, pseudo))
    assert torch.equal(SegmentationObjective(SCHEME).loss(network, batch), criterion(logits, true))


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


def stored(folder: Path, name: str, femur: int, bright: bool = False) -> Path:
    """A case whose first `femur` planes are femur, in two pieces; its image counts voxels, or shows them."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:femur, :5], labels[:femur, 7:] = 1, 1
    image = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(1, *SHAPE)
    image = 1.4 * labels[None].astype(np.float32) if bright else image
    record = CaseRecord(
        origin=Origin(settings="", files=""), shape=SHAPE, spacing=(1, 1, 1), orientation="SPL", points={}
    )
    save_case(folder, name, image, labels, record, CROP)
    return folder / name


def crops(cases: list[Path], scheme: LabelScheme | None, augmentation: AugmentationSettings) -> CropBatches:
    return CropBatches(cases, SETTINGS, scheme, Augmentation(augmentation, (1, 1, 1)), seed=3, length=5)


@pytest.fixture
def cases(tmp_path: Path) -> list[Path]:
    return [stored(tmp_path, f"case_{femur}", femur) for femur in (2, 4, 6)]


def test_crops_that_are_mixed_show_the_same_place_mirrored_alike(cases: list[Path]) -> None:
    mirroring = UNCHANGED.model_copy(update={"mirror_axes": ("RL", "IS")})
    batches = PairedCrops(crops(cases[:2], SCHEME, mirroring), crops(cases[2:], None, mirroring))
    batch = batches[1]
    assert torch.equal(batch["image"], batch["unlabelled"]), "every image counts the same voxels"
    assert torch.equal(batch["image"][0], batch["image"][1])
    assert torch.equal(batch["image"][2], batch["image"][3])
    assert not torch.equal(batch["image"][0], batch["image"][2])
    again = batches[1]
    assert all(torch.equal(batch[role], again[role]) for role in batch)


def test_shares_of_a_batch_are_its_parts_where_no_pair_is_parted(cases: list[Path]) -> None:
    def drawn(items: range) -> Batch:
        labelled = crops(cases, SCHEME, UNCHANGED)
        labelled.items = items
        return PairedCrops(labelled, crops(cases, None, UNCHANGED))[1]

    whole, first, second = drawn(range(4)), drawn(range(2)), drawn(range(2, 4))
    assert all(torch.equal(torch.cat([first[role], second[role]]), part) for role, part in whole.items())
    with pytest.raises(KneeformerError, match="even number"):
        drawn(range(1))


def test_the_teacher_sees_images_as_they_are(cases: list[Path]) -> None:
    noisy = UNCHANGED.model_copy(update={"noise_probability": 1.0})
    plain = PairedCrops(crops(cases, SCHEME, UNCHANGED), crops(cases, None, UNCHANGED))[0]
    batch = PairedCrops(crops(cases, SCHEME, noisy), crops(cases, None, noisy))[0]
    assert torch.equal(batch["unlabelled_plain"][0], batch["unlabelled_plain"][0].round())
    assert not torch.equal(batch["unlabelled"], batch["unlabelled_plain"])
    assert torch.equal(plain["unlabelled"], plain["unlabelled_plain"])


def test_labels_of_unlabelled_cases_are_never_read(cases: list[Path]) -> None:
    batch = PairedCrops(crops(cases[:1], SCHEME, UNCHANGED), crops(cases[1:], None, UNCHANGED))[0]
    assert bool(batch["unlabelled_inside"].all())
    assert set(batch) == {
        *("image", "labels", "to_patient", "own"),
        *("unlabelled", "unlabelled_plain", "unlabelled_inside", "unlabelled_to_patient"),
    }


def test_without_unlabelled_images_labelled_crops_come_mixed(cases: list[Path]) -> None:
    batch = PairedCrops(crops(cases, SCHEME, UNCHANGED), None)[0]
    assert set(batch) == {"image", "labels", "to_patient"}


def test_labelled_cases_show_pieces_and_volumes(cases: list[Path]) -> None:
    femur, tibia = labelled_structures(cases, SCHEME)
    assert femur == LabelledStructure("femur", 2, pytest.approx(0.5), pytest.approx(1.5))
    assert tibia == LabelledStructure("tibia", 1, 0.0, float("inf"))


def examined(femur_share: float) -> list[dict[str, Tensor]]:
    """One batch: half of 20 labelled voxels are femur, and a share of those without labels."""
    voxels = torch.zeros(1, 1, 1, 1, 20)
    voxels[..., : round(20 * femur_share)] = 1.4
    labels = torch.zeros(1, 1, 1, 20, dtype=torch.int16)
    labels[..., :10] = 1
    return [
        {
            "labels": labels,
            "unlabelled_plain": voxels,
            "unlabelled_inside": torch.ones(1, 1, 1, 20, dtype=torch.bool),
            "unlabelled_to_patient": torch.zeros(1, 3),
        }
    ]


@pytest.mark.parametrize(
    ("share", "good"), [(0.5, True), (0.25, True), (0.05, False), (0.95, True), (0.0, False)]
)
def test_volumes_beyond_the_labelled_range_are_a_fault(share: float, good: bool) -> None:
    """The range is 0.4 to 1.0, and may be left by a factor of two."""
    structures = [LabelledStructure("femur", 1, 0.4, 1.0), LabelledStructure("tibia", 1, 0.0, np.inf)]
    batches = examined(share)
    teacher = PseudoLabelTeacher(TeacherSettings(), SCHEME, structures, batches)  # type: ignore[arg-type]
    found = teacher.examine(Threshold())
    assert found.figures["pseudo-volume of femur"] == pytest.approx(2 * share)
    assert (found.fault is None) == good


def test_the_teacher_mixes_labels_alone_until_it_has_a_weight(cases: list[Path]) -> None:
    batch = PairedCrops(crops(cases[:1], SCHEME, UNCHANGED), crops(cases[1:], None, UNCHANGED))[0]
    structures = labelled_structures(cases, SCHEME)
    teacher = PseudoLabelTeacher(TeacherSettings(), SCHEME, structures, [])  # type: ignore[arg-type]
    assert "pseudo_labels" not in teacher.examples(Threshold(), batch, 0.0)
    taught = teacher.examples(Threshold(), batch, 0.5)
    counted = (taught["labels"] != IGNORE_INDEX).int() + (taught["pseudo_labels"] != IGNORE_INDEX).int()
    assert bool((counted == 1).all()), "images of hundreds: the network is sure everywhere"
    assert set(taught["pseudo_labels"].unique().tolist()) <= {IGNORE_INDEX, 0, 1, 2}


class Stopped(Exception):
    """Stands for the end of the process."""


@pytest.mark.slow
def test_a_stopped_training_with_a_teacher_ends_as_one_that_was_not(tmp_path: Path) -> None:
    cases = [stored(tmp_path, f"case_{femur}", femur, bright=True) for femur in (3, 4, 5, 6)]
    settings = SETTINGS.model_copy(
        update={
            "epochs": 4,
            "steps_per_epoch": 2,
            "averaged_share": 0.5,
            "learning_rate": 0.01,
            "precision": "fp32",
        }
    )

    def run(folder: Path) -> TrainingRun:
        folder.mkdir(exist_ok=True)
        noisy = UNCHANGED.model_copy(update={"noise_probability": 1.0})
        paired = PairedCrops(crops(cases[:2], SCHEME, noisy), crops(cases[2:], None, noisy))
        paired.labelled.length = 100
        plain = PairedCrops(crops(cases[:2], SCHEME, UNCHANGED), crops(cases[2:], None, UNCHANGED))
        structures = labelled_structures(cases[:2], SCHEME)
        return TrainingRun(
            network=Threshold(),
            objective=SegmentationObjective(SCHEME),
            training=paired,
            validation=crops(cases[2:], SCHEME, UNCHANGED),
            settings=settings,
            folder=folder,
            device=torch.device("cpu"),
            seed=0,
            teacher=PseudoLabelTeacher(TeacherSettings(), SCHEME, structures, plain),
        )

    def stop(event: ProgressEvent) -> None:
        if event.step == 5:
            raise Stopped

    state = train(run(tmp_path / "whole"))
    assert state.teacher_since == 0.25 and not state.teacher_failed
    with pytest.raises(Stopped):
        train(run(tmp_path / "stopped"), watch=stop)
    train(run(tmp_path / "stopped"), resume=True)
    whole, stopped = (load_checkpoint(tmp_path / name / LATEST) for name in ("whole", "stopped"))
    assert whole["network"] == stopped["network"] and whole["unaveraged"] == stopped["unaveraged"]
    assert whole["network"] != whole["unaveraged"]
