"""The rules of self-configuration: the worked examples of the design, and what holds for any data."""

import numpy as np
import pytest

from kneeformer.config import StemStage
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


def test_median_shape_counts_slices_as_they_are() -> None:
    seen = fingerprint([(5.0, 1.0, 1.0), (4.0, 1.0, 1.0), (5.5, 0.5, 0.5)], [(24, 40, 40)] * 3)
    assert rules.median_shape(seen, (4.0, 1.0, 1.0)) == (24, 40, 40)


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


def test_crop_share() -> None:
    assert rules.crop_share((20, 160, 160), (40, 320, 320)) == 0.125
    assert rules.crop_share((40, 56, 40), (36, 50, 35)) == 1
    assert rules.crop_share((40, 56, 40), (80, 50, 35)) == 0.5


def test_normalisation_by_channel_name() -> None:
    names = ("CT", "T1", "noNorm", "rescale_to_0_1", "zscore", "PD")
    chosen = rules.normalisation(fingerprint([KNEE], channels=6), names)
    assert [c.kind for c in chosen] == ["ct", "zscore", "none", "unit", "zscore", "zscore"]
    assert (chosen[0].lower, chosen[0].upper, chosen[0].mean, chosen[0].deviation) == (-900, 1500, 100, 50)


@pytest.mark.parametrize(
    "name", ["femur", "femoral_cartilage", "bright", "Hippocampus anterior", "leftover", "meniscus_medial"]
)
def test_left_and_right_are_mirrored_where_no_label_has_a_side(name: str) -> None:
    assert rules.mirror_axes(fingerprint([KNEE] * 3, structures=("tibia", name), axes=[2, 0, 2])) == ("RL",)


@pytest.mark.parametrize(
    "name",
    ["left_femur", "femur-R", "Femur_L", "RIGHT", "left femur", "Femur (left)", "femur.l"],
)
def test_nothing_is_mirrored_where_a_label_has_a_side(name: str) -> None:
    assert rules.mirror_axes(fingerprint([KNEE] * 3, structures=("tibia", name))) == ()


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
def test_pretraining_comes_first_with_three_unlabelled_subjects_for_each_labelled_one(
    labelled: int, unlabelled: int, worth: bool
) -> None:
    seen = fingerprint([KNEE] * max(1, labelled), labelled=labelled, unlabelled=unlabelled)
    assert rules.worth_pretraining(seen) is worth


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "worth"),
    [(3, 9, False), (4, 4, True), (4, 3, False), (40, 40, True), (41, 99, False), (0, 9, False)],
)
def test_images_are_labelled_where_few_have_labels_and_as_many_have_none(
    labelled: int, unlabelled: int, worth: bool
) -> None:
    seen = fingerprint([KNEE] * max(1, labelled), labelled=labelled, unlabelled=unlabelled)
    assert rules.worth_teaching(seen) is worth


def test_subjects_count_and_not_their_scans() -> None:
    seen = fingerprint([KNEE] * 4, labelled=4, unlabelled=9)
    names = dict(zip(seen.cases, ("anna", "anna", "bert", "bert"), strict=True))
    two = seen.model_copy(update={"subjects": names})
    assert rules.worth_teaching(seen) and not rules.worth_teaching(two)
    assert rules.worth_pretraining(two) and not rules.worth_pretraining(seen)
