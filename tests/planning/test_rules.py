"""The rules of self-configuration: the worked examples of the design, and what holds for any data."""

import math

import numpy as np
import pytest

from kneeformer.config import NetworkSettings, StemStage
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint, Intensities

CPU, GPU = Budget("cpu", 8.0), Budget("cuda", 24.0)
KNEE = (3.11, 0.4375, 0.4375)


def fingerprint(
    spacings: list[Spacing],
    shapes: list[Size] | None = None,
    structures: tuple[str, ...] = ("femur",),
    axes: list[int] | None = None,
    channels: int = 1,
    labelled: int = 0,
    unlabelled: int = 0,
) -> Fingerprint:
    cases = {
        f"case{i}": CaseFingerprint(
            shape=shape,
            file_shape=shape,
            spacing=spacing,
            orientation=("LIP", "ILP", "SPL")[axis],
            volumes_mm3={"femur": 0.0} if i < labelled else {},
        )
        for i, (spacing, shape, axis) in enumerate(
            zip(
                spacings, shapes or [(36, 320, 320)] * len(spacings), axes or [0] * len(spacings), strict=True
            )
        )
    }
    seen = Intensities(
        mean=100, deviation=50, percentile_00_5=-900, percentile_99_5=1500, minimum=-1024, maximum=3000
    )
    return Fingerprint(
        orientations=("LIP",),
        cases=cases,
        intensities=(seen,) * channels,
        structures=structures,
        unlabelled=unlabelled,
    )


def random_spacings(count: int) -> list[Spacing]:
    """Isotropic, slightly and strongly anisotropic, thick along any axis: 0.05 to 6 mm."""
    rng = np.random.default_rng(0)
    found: list[Spacing] = []
    for _ in range(count):
        z, y, x = (np.exp(rng.uniform(np.log(0.05), np.log(2))) * np.exp(rng.uniform(0, 1.2, 3))).tolist()
        found.append((z, y, x))
    return found


def random_shapes(count: int) -> list[Size]:
    rng = np.random.default_rng(1)
    return [(int(z), int(y), int(x)) for z, y, x in rng.integers(1, 600, (count, 3))]


def test_spacing_is_the_median_of_each_axis() -> None:
    seen = fingerprint([(1.0, 1.0, 0.8), (1.2, 1.0, 1.0), (1.4, 3.0, 0.9)])
    assert rules.target_spacing(seen) == (1.2, 1.0, 0.9)


def test_no_axis_is_finer_than_is_asked() -> None:
    assert rules.target_spacing(fingerprint([(1.0, 0.7, 2.5)]), finest_mm=2.0) == (2.0, 2.0, 2.5)
    assert rules.target_spacing(fingerprint([(6.0, 0.5, 0.5)]), finest_mm=1.5) == (6.0, 1.5, 1.5)


def test_a_thick_axis_takes_its_tenth_percentile() -> None:
    thick = [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0]  # ten steps: the tenth is one step up
    seen = fingerprint([(s, 0.4, 0.4) for s in thick])
    assert rules.target_spacing(seen) == pytest.approx((3.1, 0.4, 0.4))


def test_a_thick_axis_never_becomes_finer_than_the_others() -> None:
    seen = fingerprint([(0.2, 0.5, 0.5)] * 2 + [(3.0, 0.5, 0.5)] * 3)
    assert rules.target_spacing(seen) == (0.5, 0.5, 0.5)


def test_exactly_three_times_is_not_thick() -> None:
    assert rules.thick_axis((1.5, 0.5, 0.5)) is None
    assert rules.thick_axis((1.51, 0.5, 0.5)) == 0
    assert rules.thick_axis((0.5, 2.0, 0.5)) == 1
    assert rules.thick_axis((0.5, 0.4, 2.0)) == 2


def test_median_shape_is_in_voxels_of_the_target() -> None:
    spacings = [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)]
    seen = fingerprint(spacings, [(10, 40, 40), (16, 50, 60), (18, 60, 50)])
    assert rules.median_shape(seen, (2.0, 0.5, 1.0)) == (9, 100, 50)  # extents 20, 16, 18; 40, 50, 60; ...


@pytest.mark.parametrize(
    ("spacing", "budget", "token"),
    [
        (KNEE, GPU, (1, 8, 8)),  # 3.11 x 3.5 x 3.5 mm; two slices would be 6.22
        (KNEE, CPU, (2, 16, 16)),  # 6.22 x 7 x 7 mm
        ((0.4375, 0.4375, 3.11), GPU, (8, 8, 1)),
        ((0.4375, 3.11, 0.4375), CPU, (16, 2, 16)),
        ((0.7, 0.7, 0.7), CPU, (8, 8, 8)),
        ((0.625, 0.625, 0.625), GPU, (8, 8, 8)),
    ],
)
def test_tokens_of_the_worked_examples(spacing: Spacing, budget: Budget, token: Size) -> None:
    assert rules.token_size(spacing, budget) == token


@pytest.mark.parametrize("budget", [CPU, GPU])
def test_hippocampi_of_1_mm_have_tokens_of_4_or_8(budget: Budget) -> None:
    assert rules.token_size((1.0, 1.0, 1.0), budget) in {(4, 4, 4), (8, 8, 8)}


@pytest.mark.parametrize("budget", [CPU, GPU])
def test_tokens_of_any_spacing(budget: Budget) -> None:
    for spacing in random_spacings(300):
        token = rules.token_size(spacing, budget)
        thick = rules.thick_axis(spacing)
        assert set(token) <= {1, 2, 4, 8, 16} and math.prod(token) <= 1024
        assert thick is None or token[thick] <= 2
        limit = max(8.0 if budget.is_cpu else 5.0, 8 * min(spacing))
        assert all(t == 1 or t * s <= limit for t, s in zip(token, spacing, strict=True))


@pytest.mark.parametrize("budget", [CPU, GPU])
def test_tokens_follow_the_axes_when_they_are_turned(budget: Budget) -> None:
    for spacing in random_spacings(100):
        z, y, x = spacing
        turned = rules.token_size((x, z, y), budget)
        assert math.prod(turned) == math.prod(rules.token_size(spacing, budget))
        assert (turned[1], turned[2], turned[0]) == rules.token_size(spacing, budget)


def test_the_stem_of_a_knee() -> None:
    stages = rules.stem_stages(KNEE, (2, 16, 16), width=192, first_channels=16)
    assert stages == (
        StemStage(channels=16, stride=(1, 1, 1), kernel=(1, 3, 3)),  # 3.11 x 0.4375 x 0.4375 mm
        StemStage(channels=32, stride=(1, 2, 2), kernel=(1, 3, 3)),  # 3.11 x 0.875
        StemStage(channels=64, stride=(1, 2, 2), kernel=(3, 3, 3)),  # 3.11 x 1.75: within 2 x
        StemStage(channels=96, stride=(2, 2, 2), kernel=(3, 3, 3)),  # 6.22 x 3.5
        StemStage(channels=192, stride=(1, 2, 2), kernel=(3, 3, 3)),  # 6.22 x 7
    )


def test_the_stem_of_an_isotropic_volume() -> None:
    stages = rules.stem_stages((1.0, 1.0, 1.0), (8, 8, 8), width=192, first_channels=16)
    assert [s.stride for s in stages] == [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
    assert [s.channels for s in stages] == [16, 32, 64, 192]
    assert {s.kernel for s in stages} == {(3, 3, 3)}


def test_the_thick_axis_may_stand_anywhere() -> None:
    first = rules.stem_stages(KNEE, (2, 16, 16), 192, 16)
    last = rules.stem_stages(KNEE[::-1], (16, 16, 2), 192, 16)
    assert [s.stride[::-1] for s in last] == [s.stride for s in first]
    assert [s.kernel[::-1] for s in last] == [s.kernel for s in first]


def test_tokens_of_one_voxel_still_reach_the_width() -> None:
    stages = rules.stem_stages((1.0, 1.0, 1.0), (1, 1, 1), width=192, first_channels=16)
    assert [s.channels for s in stages] == [16, 192]


@pytest.mark.parametrize("budget", [CPU, GPU])
def test_strides_multiply_to_the_token_and_halve_only_fine_axes(budget: Budget) -> None:
    for spacing in random_spacings(300):
        token = rules.token_size(spacing, budget)
        stages = rules.stem_stages(spacing, token, 192, 16)
        network = NetworkSettings(stem=stages, width=192, depth=1, heads=4)
        assert network.token == token and stages[-1].channels == 192
        current, left = np.array(spacing), np.array(token)
        for stage in stages:
            assert set(stage.stride) <= {1, 2} and set(stage.kernel) <= {1, 3}
            halved = np.array(stage.stride) == 2
            if halved.any():
                assert (current[halved] < 2 * current[left > 1].min()).all()
            current, left = current * stage.stride, left // stage.stride


def test_no_voxel_is_skipped_where_an_axis_is_halved() -> None:
    skipping = [
        (spacing, stage)
        for spacing in [(4.0, 0.25, 0.25), (0.2, 4.0, 0.2), *random_spacings(300)]
        for stage in rules.stem_stages(spacing, rules.token_size(spacing, CPU), 192, 16)
        if any(k < s for k, s in zip(stage.kernel, stage.stride, strict=True))
    ]
    assert not skipping


def test_the_crop_of_a_knee() -> None:
    # 18 x 20 x 20 tokens of 6.22 x 7 x 7 mm; 11 x 10 x 10 are 1100, 68.4 x 70 x 70 mm, so y gives one up
    crop = rules.crop_size((36, 320, 320), KNEE, (2, 16, 16), 1024)
    assert crop == (22, 144, 160)  # 11 x 9 x 10 = 990 tokens


def test_a_small_volume_is_its_own_crop() -> None:
    assert rules.crop_size((36, 50, 35), (1.0, 1.0, 1.0), (8, 8, 8), 1024) == (40, 56, 40)


def test_crops_are_whole_tokens_within_the_budget_and_the_volume() -> None:
    for shape, spacing in zip(random_shapes(200), random_spacings(200), strict=True):
        for tokens, budget in ((64, CPU), (1024, CPU), (4096, GPU)):
            token = rules.token_size(spacing, budget)
            crop = rules.crop_size(shape, spacing, token, tokens)
            grid = [c // t for c, t in zip(crop, token, strict=True)]
            whole = [math.ceil(n / t) for n, t in zip(shape, token, strict=True)]
            assert all(c % t == 0 for c, t in zip(crop, token, strict=True))
            assert 1 <= math.prod(grid) <= tokens
            assert all(g <= w for g, w in zip(grid, whole, strict=True))
            assert math.prod(whole) > tokens or grid == whole


def test_crop_share() -> None:
    assert rules.crop_share((20, 160, 160), (40, 320, 320)) == 0.125
    assert rules.crop_share((40, 56, 40), (36, 50, 35)) == 1
    assert rules.crop_share((40, 56, 40), (80, 50, 35)) == 0.5


@pytest.mark.parametrize("cases", [1, 20, 499, 500, 2999, 3000, 100_000])
@pytest.mark.parametrize("budget", [CPU, GPU])
def test_the_width_of_a_head_is_a_multiple_of_six(cases: int, budget: Budget) -> None:
    width, depth, heads = rules.encoder_size(cases, budget)
    assert width % heads == 0 and width // heads % 6 == 0 and depth >= 1


def test_the_encoder_grows_with_the_cases_on_a_gpu() -> None:
    sizes = [rules.encoder_size(n, GPU)[:2] for n in (100, 1000, 10_000)]
    assert sizes == [(384, 12), (768, 12), (864, 16)]


def test_normalisation_by_channel_name() -> None:
    names = ("CT", "T1", "noNorm", "rescale_to_0_1", "zscore", "PD")
    chosen = rules.normalisation(fingerprint([KNEE], channels=6), names)
    assert [c.kind for c in chosen] == ["ct", "zscore", "none", "unit", "zscore", "zscore"]
    assert (chosen[0].lower, chosen[0].upper, chosen[0].mean, chosen[0].deviation) == (-900, 1500, 100, 50)


@pytest.mark.parametrize(
    "name", ["femur", "femoral_cartilage", "bright", "Hippocampus anterior", "leftover", "meniscus_medial"]
)
def test_left_and_right_are_mirrored_where_no_label_has_a_side(name: str) -> None:
    assert rules.mirror_axes(fingerprint([KNEE] * 3, structures=("tibia", name), axes=[2, 2, 2])) == (2,)


@pytest.mark.parametrize(
    "name",
    ["left_femur", "femur-R", "Femur_L", "RIGHT", "left femur", "Femur (left)", "femur.l"],
)
def test_nothing_is_mirrored_where_a_label_has_a_side(name: str) -> None:
    assert rules.mirror_axes(fingerprint([KNEE] * 3, structures=("tibia", name))) == ()


def test_nothing_is_mirrored_where_the_cases_disagree() -> None:
    assert rules.mirror_axes(fingerprint([KNEE] * 10, axes=[0] * 9 + [2])) == (0,)
    assert rules.mirror_axes(fingerprint([KNEE] * 10, axes=[0] * 8 + [2] * 2)) == ()


def test_thick_slices_turn_in_their_plane_alone() -> None:
    seen = fingerprint([KNEE], axes=[0])
    thick = rules.augmentation(seen, KNEE).rotation_degrees
    assert thick[0] > 0 and thick[1:] == (0, 0)
    turned = rules.augmentation(seen, (0.4375, 0.4375, 3.11)).rotation_degrees
    assert turned[2] > 0 and turned[:2] == (0, 0)
    assert min(rules.augmentation(seen, (1.0, 1.0, 1.0)).rotation_degrees) > 0


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "worth"),
    [(1, 2, False), (1, 3, True), (10, 29, False), (10, 30, True), (10, 0, False), (0, 1, True)],
)
def test_pretraining_comes_first_with_three_unlabelled_subjects_for_each_labelled_case(
    labelled: int, unlabelled: int, worth: bool
) -> None:
    seen = fingerprint([KNEE] * max(1, labelled), labelled=labelled, unlabelled=unlabelled)
    assert rules.worth_pretraining(seen) is worth


def test_a_budget_shrinks_by_quarters_down_to_an_end() -> None:
    budget: Budget | None = CPU
    limits = []
    while budget is not None:
        limits.append(budget.tokens)
        budget = budget.with_fewer_tokens()
    assert limits[:3] == [1024, 768, 576] and limits[-1] >= 64
    assert limits[-1] * 3 // 4 < 64 and GPU.tokens == 4096
