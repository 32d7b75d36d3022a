"""Windows that cover a volume, and networks whose answer is known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.config import CropConfiguration
from kneeformer.engine.sliding_window import VolumePredictor, gaussian_window, subsets, window_places
from kneeformer.geometry.aliases import Size
from kneeformer.networks.positions import points_in_patient

SPACING = (3.0, 0.5, 1.0)
CROP = (4, 8, 8)  # tokens of 1 x 2 x 2 voxels
SIZES = [(4, 8, 8), (9, 17, 12), (1, 30, 8), (5, 3, 1), (3, 3, 21)]


def configuration(
    whole_volume_tokens: int = 0, mirror_axes: tuple[str, ...] = (), overlap: float = 0.5
) -> CropConfiguration:
    return CropConfiguration.model_validate(
        {
            "task": "segmentation",
            "preprocessing": {
                "folder": "test",
                "spacing": SPACING,
                "orientations": ("SPL",),
                "median_shape": (1, 1, 1),
                "normalisation": [{"kind": "none"}],
            },
            "network": {
                "stem": [{"channels": 6, "stride": (1, 2, 2), "kernel": (1, 3, 3)}],
                "width": 6,
                "depth": 1,
                "heads": 1,
            },
            "training": {
                "crop": CROP,
                "batch_size": 1,
                "epochs": 1,
                "steps_per_epoch": 1,
                "learning_rate": 1,
                "precision": "fp32",
            },
            "augmentation": {},
            "inference": {
                "whole_volume_tokens": whole_volume_tokens,
                "mirror_axes": mirror_axes,
                "window_overlap": overlap,
            },
        }
    )


class Known(nn.Module):
    """A network that is a plain function of image and place; it keeps the sizes it was given."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer
        self.device_marker = nn.Parameter(torch.zeros(1))
        self.sizes: list[Size] = []

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        z, y, x = image.shape[2:]
        self.sizes.append((z, y, x))
        return self.answer(image, to_patient)


def constant(value: float) -> Known:
    return Known(lambda image, _: torch.full((1, 2, *image.shape[2:]), value))


def pointwise() -> Known:
    """Each voxel by itself: two outputs of two channels."""
    return Known(lambda image, _: torch.stack([3 * image[:, 0] - image[:, 1], image[:, 1] ** 2], 1))


def shifted() -> Known:
    """Each voxel moves one along x; the border is repeated. Not symmetric."""
    return Known(lambda image, _: F.pad(image, (1, 0, 0, 0, 0, 0), mode="replicate")[..., :-1])


def position() -> Known:
    """Where each voxel lies in the patient, in mm from the middle of the whole volume: x, y and z."""

    def answer(image: Tensor, to_patient: Tensor) -> Tensor:
        z, y, x = image.shape[2:]
        return points_in_patient((z, y, x), (1, 1, 1), to_patient).mT.unflatten(2, (z, y, x))

    return Known(answer)


def volume(size: Size, channels: int = 2) -> Tensor:
    return torch.randn(channels, *size, generator=torch.Generator().manual_seed(0))


def starts(size: int, window: int, overlap: float) -> list[int]:
    return [z.start for z, _, _ in window_places((size, 1, 1), (window, 1, 1), overlap)]


def test_windows_by_hand() -> None:
    assert starts(8, 8, 0.5) == [0]
    assert starts(12, 8, 0.5) == [0, 4]
    assert starts(13, 8, 0.5) == [0, 2, 5]
    assert starts(16, 8, 0) == [0, 8]


def test_windows_cover_every_voxel_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        window = rng.integers(1, 9, 3)
        size = window + rng.integers(0, 25, 3) * rng.integers(0, 2, 3)
        overlap = float(rng.choice([0, 0.25, 0.5, 0.75, 0.9]))
        covered = np.zeros(size, int)
        for place in window_places(tuple(size.tolist()), tuple(window.tolist()), overlap):
            assert all(p.start >= 0 and p.stop <= n for p, n in zip(place, size, strict=True))
            assert [p.stop - p.start for p in place] == window.tolist()
            covered[place] += 1
        assert covered.min() >= 1


def test_neighbours_share_what_they_should_and_lie_evenly() -> None:
    for size in range(8, 120):
        for overlap in (0, 0.25, 0.5, 0.75):
            steps = np.diff(starts(size, 8, overlap))
            assert (steps <= 8 * (1 - overlap)).all() and (steps >= 1).all()
            assert not len(steps) or steps.max() - steps.min() <= 1


def test_weights_are_highest_in_the_middle_and_never_zero() -> None:
    weight = gaussian_window((4, 9, 32))
    assert weight.shape == (4, 9, 32) and weight.min() >= 1e-4
    assert torch.allclose(weight, weight.flip(0, 1, 2))
    assert weight.max() == weight[1, 4, 15] and gaussian_window((1, 9, 1)).max() == 1
    assert gaussian_window((1, 16, 1))[0, 0, 0] == pytest.approx(max(1e-3, np.exp(-0.5 * (7.5 / 2) ** 2)))


def test_subsets() -> None:
    assert list(subsets(())) == [()]
    assert list(subsets((0, 2))) == [(), (0,), (2,), (0, 2)]
    assert len(set(subsets((0, 1, 2)))) == 8


@pytest.mark.parametrize("tokens", [0, 10**6], ids=["windows", "whole"])
@pytest.mark.parametrize("size", SIZES)
def test_a_constant_network_gives_a_constant(size: Size, tokens: int) -> None:
    logits = VolumePredictor([constant(2.5)], 2, configuration(tokens, ("IS", "RL")))(
        volume(size), "SPL", SPACING
    )
    assert logits.shape == (2, *size) and logits.dtype == torch.float32
    assert torch.allclose(logits, torch.tensor(2.5))


@pytest.mark.parametrize("mirror_axes", [(), ("RL",), ("RL", "AP", "IS")])
@pytest.mark.parametrize("size", SIZES)
def test_windows_of_a_pointwise_network_are_the_whole(size: Size, mirror_axes: tuple[str, ...]) -> None:
    image = volume(size)
    direct = pointwise()(image[None], torch.eye(3, 4)[None])[0]
    for tokens in (0, 10**6):
        predictor = VolumePredictor([pointwise()], 2, configuration(tokens, mirror_axes))
        assert torch.allclose(predictor(image, "SPL", SPACING), direct, atol=1e-5)


def test_mirroring_is_undone_exactly() -> None:
    image = volume((4, 8, 8), channels=1)
    answer = VolumePredictor([shifted()], 1, configuration(10**6, ("RL",)))(image, "SPL", SPACING)
    to_the_right = F.pad(image[None], (1, 0, 0, 0, 0, 0), mode="replicate")[0, ..., :-1]
    to_the_left = F.pad(image[None], (0, 1, 0, 0, 0, 0), mode="replicate")[0, ..., 1:]
    assert torch.allclose(answer, (to_the_right + to_the_left) / 2, atol=1e-6)
    unmoved = VolumePredictor([shifted()], 1, configuration(10**6, ("IS", "AP")))(image, "SPL", SPACING)
    assert torch.allclose(unmoved, to_the_right, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 8, 8), (9, 18, 12), (11, 30, 8)])
@pytest.mark.parametrize("tokens", [0, 10**6], ids=["windows", "whole"])
def test_every_window_is_told_where_it_lies_in_the_patient(size: Size, tokens: int) -> None:
    z, y, x = torch.meshgrid(
        *[(torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(size, SPACING, strict=True)], indexing="ij"
    )
    expected = torch.stack([-z, -x, y])  # sagittal slices from left to right, rows up, columns to the front
    found = VolumePredictor([position()], 3, configuration(tokens))(volume(size), "RSA", SPACING)
    assert torch.allclose(found, expected, atol=1e-4)
    mirrored = VolumePredictor([position()], 3, configuration(tokens, ("IS",)))(volume(size), "RSA", SPACING)
    assert torch.allclose(mirrored[:2], expected[:2], atol=1e-4)
    assert torch.allclose(mirrored[2], torch.tensor(0.0), atol=1e-4)


def test_folds_are_averaged() -> None:
    predictor = VolumePredictor([constant(1), constant(2), constant(6)], 2, configuration(0, ("RL",)))
    assert torch.allclose(predictor(volume((5, 20, 9)), "SPL", SPACING), torch.tensor(3.0))


def test_a_volume_within_the_limit_is_seen_at_once() -> None:
    network = pointwise()
    image = volume((3, 11, 10))  # padded to 3 x 12 x 10 voxels: 3 x 6 x 5 tokens
    VolumePredictor([network], 2, configuration(90))(image, "SPL", SPACING)
    assert network.sizes == [(3, 12, 10)]
    network.sizes.clear()
    VolumePredictor([network], 2, configuration(89))(image, "SPL", SPACING)
    assert len(network.sizes) > 1 and set(network.sizes) == {(3, 8, 8)}


def test_the_image_is_left_alone() -> None:
    image = volume((4, 8, 8), channels=1)
    before = image.clone()
    VolumePredictor([Known(lambda given, _: given)], 1, configuration(10**6, ("IS",)))(image, "SPL", SPACING)
    assert torch.equal(image, before)
