"""What a machine is spent on: worked examples, and what holds for any data and any machine."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from kneeformer.config import NetworkSettings
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning.budget import Budget
from kneeformer.planning.rules import crop_share, stem_stages, thick_axis
from kneeformer.planning.spending import Spent, spend, token_sizes
from kneeformer.planning.step_cost import step_cost

CPU, GPU = Budget("cpu", 8.0), Budget("cuda", 24.0)
KNEE, KNEE_SHAPE = (3.11, 0.4375, 0.4375), (36, 320, 320)


@dataclass(frozen=True)
class Data:
    shape: Size
    spacing: Spacing
    cases: int
    channels: int
    outputs: int

    def spend(self, budget: Budget) -> Spent:
        return spend(self.shape, self.spacing, self.cases, self.channels, self.outputs, budget)

    def share(self, budget: Budget) -> float:
        return crop_share(self.spend(budget).crop, self.shape)


def random_data(count: int, seed: int) -> Iterator[tuple[Data, float]]:
    """0.06 to 5 mm, a third of it isotropic; 1 to 700 voxels along an axis; and 1 to 80 GB."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ratios = np.exp(rng.uniform(0, math.log(8), 3)) if rng.random() < 0.7 else np.ones(3)
        spacing = np.minimum(5, math.exp(rng.uniform(math.log(0.06), math.log(2))) * ratios / ratios.min())
        fewest = 1 if rng.random() < 0.3 else 8
        z, y, x = np.exp(rng.uniform(math.log(fewest), math.log(700), 3)).round().astype(int).tolist()
        dz, dy, dx = spacing.tolist()
        cases = round(math.exp(rng.uniform(0, 7)))
        data = Data((z, y, x), (dz, dy, dx), cases, int(rng.integers(1, 4)), int(rng.integers(2, 12)))
        yield data, math.exp(rng.uniform(0, math.log(80)))


def test_any_dataset_is_planned_on_any_machine() -> None:
    speeds = np.random.default_rng(0).integers(-3, 5, 400).tolist()
    for (data, memory), power in zip(random_data(400, 0), speeds, strict=True):
        for budget in (Budget("cpu", memory, 2.0**power), Budget("cuda", memory)):
            spent = data.spend(budget)
            token = spent.network.token
            grid = [c // t for c, t in zip(spent.crop, token, strict=True)]
            assert all(g * t == c for g, t, c in zip(grid, token, spent.crop, strict=True))
            assert all(c < n + t or n == 1 for c, n, t in zip(spent.crop, data.shape, token, strict=True))
            assert 2 <= spent.tokens <= 16384 and 1 <= spent.batch <= max(2, min(16, data.cases))
            assert set(token) <= {1, 2, 4, 8, 16}
            voxels = math.prod(spent.crop)
            if sum(grid) > 4:  # else there is nothing smaller
                assert spent.cost.memory_gb(spent.batch, voxels, spent.tokens) <= memory
                assert spent.cost.seconds(spent.batch, voxels, spent.tokens) <= (
                    budget.longest_step * budget.speed
                )


def test_more_memory_and_more_time_never_see_less_and_a_gpu_no_less_than_a_cpu() -> None:
    for data, memory in random_data(150, 1):
        for budget in (Budget("cpu", memory), Budget("cuda", memory)):
            share = data.share(budget)
            assert data.share(replace(budget, memory_gb=1.7 * memory)) >= share
        assert data.share(Budget("cuda", memory)) >= data.share(Budget("cpu", memory))


def test_a_gpu_with_little_memory_gets_a_smaller_encoder_instead_of_a_crop_that_sees_nothing() -> None:
    data = Data(KNEE_SHAPE, KNEE, 2000, 1, 7)
    for memory, width in ((1.5, 192), (6, 864)):
        spent = data.spend(Budget("cuda", memory))
        assert (spent.network.width, spent.limit) == (width, "memory")
    assert data.share(Budget("cuda", 1.5)) > 0.1


def test_a_spacing_a_little_different_changes_little() -> None:
    """5 % of one spacing: seldom more than a third of what is seen, where strides or kernels change."""
    changes = []
    for number, (data, memory) in enumerate(random_data(300, 2)):
        budget = Budget(("cpu", "cuda")[number % 2], memory)
        factors = [1.05 if axis == number % 3 else 1.0 for axis in range(3)]
        z, y, x = (mm * f for mm, f in zip(data.spacing, factors, strict=True))
        before, after = data.share(budget), replace(data, spacing=(z, y, x)).share(budget)
        changes.append(max(before / after, after / before))
    assert np.mean(np.array(changes) > 4 / 3) < 0.01
    assert max(changes) < 2.5


def test_axes_may_stand_in_any_order() -> None:
    for data, memory in random_data(100, 3):
        (z, y, x), (dz, dy, dx) = data.shape, data.spacing
        turned = replace(data, shape=(x, z, y), spacing=(dx, dz, dy))
        budget = Budget("cuda", memory)
        assert turned.share(budget) == pytest.approx(data.share(budget), rel=0.15)


@pytest.mark.parametrize(
    ("shape", "spacing", "budget", "token", "crop"),
    [
        (KNEE_SHAPE, KNEE, CPU, (2, 16, 16), (22, 144, 160)),  # as the trainings of the benchmarks had
        ((36, 50, 35), (1.0, 1.0, 1.0), CPU, (8, 8, 8), (40, 56, 40)),
        (KNEE_SHAPE, KNEE, replace(GPU, memory_gb=8), (2, 16, 16), (36, 320, 320)),
        ((40, 320, 320), KNEE, replace(GPU, memory_gb=8), (2, 16, 16), (40, 320, 320)),
        ((160, 384, 384), (0.7, 0.365, 0.365), GPU, (8, 16, 16), (160, 384, 384)),
        ((24, 128, 128), (4.67, 1.09, 1.09), CPU, (4, 16, 16), (24, 128, 128)),
        ((30, 512, 512), (4.0, 0.35, 0.35), GPU, (2, 16, 16), (30, 496, 512)),  # tokens of 8 x 5.6 x 5.6 mm
    ],
)
def test_worked_examples(shape: Size, spacing: Spacing, budget: Budget, token: Size, crop: Size) -> None:
    spent = spend(shape, spacing, 48, 1, 7, budget)
    assert (spent.network.token, spent.crop) == (token, crop)


def test_a_machine_that_is_idle_goes_into_the_batch_and_then_into_finer_tokens() -> None:
    slow, fast = (spend((36, 50, 35), (1.0,) * 3, 200, 1, 3, b) for b in (CPU, GPU))
    assert (slow.batch, slow.network.token) == (4, (8, 8, 8))
    assert (fast.batch, fast.network.token) == (16, (4, 4, 4))
    assert spend((36, 50, 35), (1.0,) * 3, 5, 1, 3, GPU).batch == 5  # crops of a step are of different cases


@pytest.mark.parametrize(
    ("cases", "budget", "width", "depth"),
    [(10_000, CPU, 192, 6), (1, GPU, 192, 6), (10, GPU, 288, 8), (29, GPU, 384, 12), (500, GPU, 768, 12)],
)
def test_the_encoder_follows_from_cases_and_compute(
    cases: int, budget: Budget, width: int, depth: int
) -> None:
    network = spend(KNEE_SHAPE, KNEE, cases, 1, 2, budget).network
    assert (network.width, network.depth, network.width // network.heads) == (width, depth, 48)
    assert network.stem[0].channels == min(32, width // 12)
    assert network.drop_path == pytest.approx(min(0.2, depth / 60), abs=0.005)


def test_of_more_compute_steps_get_the_cube_root() -> None:
    assert (CPU.steps, CPU.longest_step) == (3000, 1.2)
    eight = replace(CPU, measured_speed=8.0)
    assert (eight.steps, eight.longest_step) == (6000, 0.6)  # each step does four times as much
    assert replace(CPU, share=0.25).longest_step == pytest.approx(0.3)
    assert GPU.steps == round(3000 * 2400 ** (1 / 3))


@pytest.mark.parametrize("spacing", [KNEE, (0.06, 0.06, 0.06), (5.0, 0.8, 0.8), (1.0, 1.3, 0.7)])
def test_tokens_are_near_to_cubes_and_no_slices_are_skipped(spacing: Spacing) -> None:
    for token in token_sizes((200, 300, 300), spacing):
        edges = [t * mm for t, mm in zip(token, spacing, strict=True)]
        coarse = thick_axis(spacing)
        assert max(edges) / min(edges) <= 2 or (coarse is not None and token[coarse] == 1)
        stages = stem_stages(spacing, token, 192, 16)
        assert NetworkSettings(stem=stages, width=192, depth=1, heads=4).token == token
        for stage in stages:
            assert all(k >= s for k, s in zip(stage.kernel, stage.stride, strict=True))


def test_the_cost_of_a_step_by_hand() -> None:
    """One stage of 16 channels, then tokens of 8 voxels: 2 and 5 maps in the stem, 4 in the decoder."""
    network = NetworkSettings(stem=stem_stages((1.0,) * 3, (2, 2, 2), 192, 16), width=192, depth=2, heads=4)
    cost = step_cost(network, channels=1, outputs=3)
    first, second = 16 * 27, 27 * (16 * 192 + 192**2)  # weights of the stem
    decoder = 8 * 192 * 16 + 27 * 16**2 + 3 * 16
    assert cost.parameters == first + second + decoder + 12 * 192**2 * 2
    assert cost.bytes_per_voxel == pytest.approx(2.1 * (6 * 16 + 5 * 192 / 8) + 9 * 3)
    assert cost.seconds(2, 800, 100) - cost.seconds(1, 800, 100) == pytest.approx(
        800 * cost.seconds_per_voxel + 100 * cost.seconds_per_token + 100**2 * cost.seconds_per_pair
    )
