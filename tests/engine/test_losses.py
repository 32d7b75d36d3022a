"""Losses by hand, and voxels that do not count."""

import math

import pytest
import torch
from torch import Tensor

from kneeformer.engine.losses import (
    IGNORE_INDEX,
    DiceCrossEntropy,
    class_indices,
    region_targets,
    segmentation_loss,
    soft_dice,
)
from kneeformer.labels import LabelScheme

FEMUR = LabelScheme.from_json({"background": 0, "femur": 1})
TWO = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
GAPS = LabelScheme.from_json({"background": 0, "tibia": 7, "femur": 3})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": [1]}, [2, 1])
NAMES = ("dice_ce", "mse", "ssim_mse")


def row(*values: int, dtype: torch.dtype = torch.int16) -> Tensor:
    """(1, 1, 1, n) labels."""
    return torch.tensor(values, dtype=dtype).view(1, 1, 1, -1)


def logits(*channels: list[float]) -> Tensor:
    """(1, channels, 1, 1, n)."""
    return torch.tensor(channels).view(1, len(channels), 1, 1, -1)


def confident(labels: Tensor, scheme: LabelScheme) -> Tensor:
    """Logits that are sure of the labels."""
    targets = region_targets(labels, scheme).float() * 60 - 30
    if scheme.has_regions:
        return targets
    return torch.cat([-targets.amax(1, keepdim=True), targets], 1)


def test_undecided_logits_by_hand() -> None:
    # p = 1/2 everywhere; one of four voxels is femur: Dice = 2 * 0.5 / (4 * 0.5 + 1) = 1/3
    loss = DiceCrossEntropy(FEMUR)(torch.zeros(1, 2, 1, 1, 4), row(0, 0, 1, 0))
    assert loss.item() == pytest.approx(math.log(2) + 1 - 1 / 3, abs=1e-5)


def test_two_structures_by_hand() -> None:
    # odds 1 : 3 : 4 at each of two voxels, p = 1/8, 3/8, 1/2; labels femur, tibia
    given = logits([0.0, 0.0], [math.log(3)] * 2, [math.log(4)] * 2)
    entropy = (-math.log(3 / 8) - math.log(1 / 2)) / 2
    dice = (2 * (3 / 8) / (6 / 8 + 1) + 2 * (1 / 2) / (1 + 1)) / 2
    assert DiceCrossEntropy(TWO)(given, row(1, 2)).item() == pytest.approx(entropy + 1 - dice, abs=1e-5)


def test_regions_by_hand() -> None:
    # bone: p = 1/2 at both voxels, both bone; femur: p = 3/4 at both, only the first is femur
    given = logits([0.0, 0.0], [math.log(3)] * 2)
    entropy = (math.log(2) * 2 - math.log(3 / 4) - math.log(1 / 4)) / 4
    dice = (2 * 1 / (1 + 2) + 2 * (3 / 4) / (3 / 2 + 1)) / 2
    assert DiceCrossEntropy(REGIONS)(given, row(1, 2)).item() == pytest.approx(entropy + 1 - dice, abs=1e-5)


def test_the_dice_pools_the_voxels_of_the_batch() -> None:
    probabilities = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(2, 1, 1, 1, 2)
    targets = torch.tensor([[1, 1], [1, 1]], dtype=torch.bool).view(2, 1, 1, 1, 2)
    everything = torch.ones(2, 1, 1, 2, dtype=torch.bool)
    assert soft_dice(probabilities, targets, everything).item() == pytest.approx(2 * 2 / (2 + 4), abs=1e-4)


def test_a_structure_that_is_absent_and_not_found_is_perfect() -> None:
    nothing = torch.zeros(1, 1, 1, 1, 2)
    assert soft_dice(nothing, nothing.bool(), torch.ones(1, 1, 1, 2, dtype=torch.bool)).item() == 1


def test_squared_error_by_hand() -> None:
    given = logits([0.0, 0.0], [math.log(3)] * 2)  # p = 3/4
    loss = segmentation_loss("mse", FEMUR)(given, row(1, 0))
    assert loss.item() == pytest.approx((1 / 16 + 9 / 16) / 2, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", [TWO, REGIONS], ids=["plain", "regions"])
def test_what_is_right_costs_nothing_and_what_is_wrong_costs(name: str, scheme: LabelScheme) -> None:
    labels = torch.randint(0, 3, (2, 12, 12, 12), generator=torch.Generator().manual_seed(0))
    loss = segmentation_loss(name, scheme)
    assert loss(confident(labels, scheme), labels).item() == pytest.approx(0, abs=1e-4)
    assert loss(confident(labels.roll(1, 3), scheme), labels).item() > 0.3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", [TWO, REGIONS], ids=["plain", "regions"])
def test_uncounted_voxels_have_no_gradient_and_no_influence(name: str, scheme: LabelScheme) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 12, 12, 12), generator=generator, dtype=torch.int16)
    labels[:, 2:5, :, 4:9] = IGNORE_INDEX
    given = torch.randn(2, scheme.outputs, 12, 12, 12, generator=generator, requires_grad=True)
    loss = segmentation_loss(name, scheme)
    value = loss(given, labels)
    value.backward()
    assert given.grad is not None
    counted = (labels != IGNORE_INDEX).unsqueeze(1).expand_as(given)
    assert (given.grad[~counted] == 0).all() and (given.grad[counted] != 0).float().mean() > 0.99
    other = torch.where(counted, given.detach(), 9.0)
    assert loss(other, labels).item() == pytest.approx(value.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["dice_ce", "mse"])
def test_the_loss_is_that_of_the_counted_voxels_alone(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (1, 4, 4, 4), generator=generator)
    given = torch.randn(1, 3, 4, 4, 4, generator=generator)
    loss = segmentation_loss(name, TWO)
    masked = labels.clone()
    masked[:, 1:] = IGNORE_INDEX
    assert loss(given, masked).item() == pytest.approx(loss(given[:, :, :1], labels[:, :1]).item(), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", [TWO, REGIONS], ids=["plain", "regions"])
def test_a_batch_without_a_counted_voxel_teaches_nothing(name: str, scheme: LabelScheme) -> None:
    given = torch.randn(1, scheme.outputs, 12, 12, 12, requires_grad=True)
    value = segmentation_loss(name, scheme)(given, torch.full((1, 12, 12, 12), IGNORE_INDEX))
    value.backward()
    assert math.isfinite(value.item()) and given.grad is not None and (given.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_logits_give_a_float32_loss(name: str) -> None:
    given = torch.randn(1, 3, 12, 12, 12).bfloat16()
    labels = torch.randint(0, 3, (1, 12, 12, 12))
    loss = segmentation_loss(name, TWO)
    assert loss(given, labels).dtype == torch.float32
    assert torch.equal(loss(given, labels), loss(given.float(), labels))


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_label_values_with_gaps(dtype: torch.dtype) -> None:
    labels = row(0, 7, 3, IGNORE_INDEX, dtype=dtype)
    assert class_indices(labels, GAPS).flatten().tolist() == [0, 1, 2, IGNORE_INDEX]
    assert class_indices(row(2, 0, IGNORE_INDEX, dtype=dtype), TWO).flatten().tolist() == [2, 0, IGNORE_INDEX]
    assert class_indices(labels, GAPS).dtype == torch.int64
    assert DiceCrossEntropy(GAPS)(confident(labels, GAPS), labels).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_regions_overlap(dtype: torch.dtype) -> None:
    targets = region_targets(row(0, 1, 2, IGNORE_INDEX, dtype=dtype), REGIONS)
    assert targets.view(2, 4).int().tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
