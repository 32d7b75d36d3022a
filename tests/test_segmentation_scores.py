"""The validation scores of a segmentation in training: Dice over pooled voxels, by hand."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from kneeformer.engine.losses import IGNORE_INDEX, DiceCrossEntropy
from kneeformer.labels import LabelScheme
from kneeformer.tasks.segmentation.task import SegmentationObjective

TWO = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
GAPS = LabelScheme.from_json({"background": 0, "tibia": 7, "femur": 3})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": [1]}, [2, 1])


class Answer(nn.Module):
    """A network whose image already is the answer."""

    def forward(self, image: Tensor, *_: Tensor) -> Tensor:
        return image


def batch(labels: list[int], *channels: list[float]) -> dict[str, Tensor]:
    """One row of voxels and the logits of its output channels."""
    return {
        "image": torch.tensor(channels).view(1, len(channels), 1, 1, -1),
        "labels": torch.tensor(labels, dtype=torch.int16).view(1, 1, 1, -1),
        "to_patient": torch.eye(3, 4)[None],
    }


def found(labels: list[int], *classes: int, outputs: int = 3) -> dict[str, Tensor]:
    """A batch whose network finds these output channels, voxel by voxel."""
    return batch(labels, *[[5.0 if c == channel else 0.0 for c in classes] for channel in range(outputs)])


def scores(scheme: LabelScheme, *batches: dict[str, Tensor]) -> dict[str, float]:
    return SegmentationObjective(scheme).validate(Answer(), iter(batches)).scores


def test_dice_by_hand() -> None:
    # femur: 2 of truth, 3 found, 1 shared; tibia: 1 of truth, 1 found, 1 shared
    result = scores(TWO, found([1, 1, 0, 0, 2], 1, 0, 1, 1, 2))
    assert result == pytest.approx({"femur": 2 / 5, "tibia": 1})


def test_voxels_of_all_batches_are_pooled() -> None:
    # Dice of each batch alone: 1 and 0; pooled: 2 * 1 / (3 + 1)
    result = scores(TWO, found([1, 0, 0], 1, 0, 0), found([1, 1, 0], 0, 0, 0))
    assert result == pytest.approx({"femur": 2 / 4})


def test_a_structure_that_is_nowhere_has_no_score_and_a_false_one_has_zero() -> None:
    assert scores(TWO, found([1, 0], 1, 0)) == {"femur": 1.0}
    assert scores(TWO, found([1, 0], 1, 2)) == {"femur": 1.0, "tibia": 0.0}
    assert scores(TWO, found([1, 2], 1, 0)) == {"femur": 1.0, "tibia": 0.0}


def test_uncounted_voxels_do_not_count() -> None:
    result = scores(TWO, found([1, IGNORE_INDEX, IGNORE_INDEX, 2], 1, 1, 2, 2))
    assert result == {"femur": 1.0, "tibia": 1.0}


def test_label_values_with_gaps() -> None:
    # output channels are in the order of the names: 1 is the tibia, 2 the femur
    assert scores(GAPS, found([7, 7, 3], 1, 1, 2)) == {"tibia": 1.0, "femur": 1.0}
    assert scores(GAPS, found([7, 3], 2, 1)) == {"tibia": 0.0, "femur": 0.0}


def test_regions_overlap() -> None:
    # bone: truth 3, found 2, shared 2; femur: truth 1, found 2, shared 1
    result = scores(REGIONS, batch([1, 2, 2, 0], [1.0, 2.0, -1.0, -1.0], [3.0, 1.0, -1.0, 0.0]))
    assert result == pytest.approx({"bone": 4 / 5, "femur": 2 / 3})


def test_batches_are_taken_one_by_one() -> None:
    taken: list[int] = []

    def stream() -> Iterator[dict[str, Tensor]]:
        for number in range(3):
            taken.append(number)
            yield found([1], 1)

    assert SegmentationObjective(TWO).validate(Answer(), stream()).scores == {"femur": 1.0}
    assert taken == [0, 1, 2]


def test_the_loss_is_dice_and_cross_entropy() -> None:
    given = found([1, 1, 0, 0, 2], 1, 0, 1, 1, 2)
    expected = DiceCrossEntropy(TWO)(given["image"], given["labels"])
    assert SegmentationObjective(TWO).loss(Answer(), given) == expected


def test_the_validation_loss_is_the_mean_over_batches() -> None:
    objective = SegmentationObjective(TWO)
    batches = [found([1, 1, 0], 1, 0, 1), found([2, 1], 2, 1)]
    expected = sum(float(objective.loss(Answer(), b)) for b in batches) / 2
    assert objective.validate(Answer(), batches).loss == pytest.approx(expected)
