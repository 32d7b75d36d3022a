"""The grid of bones: as fine as the machine can hold, around every bone; and what is mirrored."""

import math

import numpy as np
import pytest

from kneeformer.config import CropConfiguration, DatasetSettings
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint, Intensities
from kneeformer.planning.hybrid import hybrid_transformer
from kneeformer.shape_models.settings import PriorSettings
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.planning import (
    bone_configuration,
    bone_grid,
    bone_segmentation,
    code,
    common_side,
    components,
    stepwise,
)
from kneeformer.tasks.bone_completion.settings import BoneConfiguration
from kneeformer.tasks.registry import task_named, tasks_for

CPU, GPU = Budget("cpu", 8), Budget("cuda", 40)
TIBIA = DatasetSettings(
    name="Dataset002_Tibia",
    channel_names=("CT",),
    labels={"background": 0, "tibia": 1},
    file_ending=".nrrd",
)


def extents(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows)


@pytest.mark.parametrize(
    ("rows", "budget", "grid", "spacing"),
    [
        # (36 + 24, 40 + 24, 16 + 24) mm at 1 mm, to multiples of 8
        ([(36.0, 40.0, 16.0)], CPU, (64, 64, 40), 1.0),
        # 124 x 84 x 104 mm: 128 x 88 x 104 voxels of 1 mm are 1.2 million, 88 x 56 x 72 of 1.5 mm are 355 000
        ([(100.0, 60.0, 80.0)], CPU, (88, 56, 72), 1.5),
        ([(100.0, 60.0, 80.0)], GPU, (128, 88, 104), 1.0),
        # the largest along each axis counts
        ([(100.0, 20.0, 30.0), (40.0, 60.0, 80.0)], GPU, (128, 88, 104), 1.0),
    ],
)
def test_the_finest_grid_that_fits(
    rows: list[tuple[float, float, float]], budget: Budget, grid: tuple[int, int, int], spacing: float
) -> None:
    assert bone_grid(extents(*rows), budget) == (grid, spacing)


@pytest.mark.parametrize("budget", [CPU, GPU])
@pytest.mark.parametrize("size", [1, 60, 150, 300, 450])
def test_every_bone_fits_with_room(budget: Budget, size: float) -> None:
    grid, spacing = bone_grid(extents((size, size / 2, size / 3), (size / 4, size, size / 5)), budget)
    assert all(n % 8 == 0 for n in grid)
    assert all(n * spacing >= mm + 24 for n, mm in zip(grid, (size, size, size / 3), strict=True))
    assert all((n - 8) * spacing < mm + 24 for n, mm in zip(grid, (size, size, size / 3), strict=True))
    if spacing < 5:
        assert math.prod(grid) <= (400_000 if budget.is_cpu else 4_500_000)


@pytest.mark.parametrize(
    ("sides", "common"),
    [
        (["left", "right", "left"], "left"),
        (["left", "right", "right", None], "right"),
        (["left", "right"], "right"),
        (["left", "left"], "left"),
        (["right", None], "right"),
        ([None, None], None),
    ],
)
def test_bones_of_two_sides_become_the_more_frequent(sides: list[Side | None], common: Side | None) -> None:
    assert common_side(sides) == common


@pytest.mark.parametrize(
    ("bones", "wanted", "modes"),
    [(100, 32, 32), (40, 32, 31), (6, 16, 3), (5, 16, 3), (4, 16, 2), (3, 16, 1), (2, 16, 1), (1, 16, 1)],
)
def test_fewer_modes_than_bones_of_a_fold(bones: int, wanted: int, modes: int) -> None:
    assert components(bones, wanted) == modes


@pytest.mark.parametrize(
    ("bones", "channels", "codes", "epochs", "registration_epochs"),
    [(3, 4, 64, 10, 20), (25, 8, 128, 10, 20), (100, 16, 256, 40, 80), (1000, 32, 512, 400, 800)],
)
def test_code_and_steps_follow_from_the_number_of_bones(
    bones: int, channels: int, codes: int, epochs: int, registration_epochs: int
) -> None:
    assert (code(bones).latent_channels, code(bones).codes) == (channels, codes)
    plain = bone_configuration(fingerprint(a=None), CPU, "completion", None).training
    for loss, wanted in (("mse", epochs), ("dssim", registration_epochs)):
        settings = stepwise(plain, bones, CPU, loss)
        assert (settings.batch_size, settings.epochs, settings.steps_per_epoch) == (4, wanted, 25)
    assert stepwise(plain, bones, GPU, "mse").epochs >= 200


def fingerprint(
    straight_mm: tuple[float, float, float] = (100.0, 60.0, 80.0), **sides: Side | None
) -> Fingerprint:
    cases = {
        name: CaseFingerprint(
            shape=(90, 90, 90),
            file_shape=(90, 90, 90),
            spacing=(1.0, 1.0, 1.0),
            orientation="SPL",
            volumes_mm3={"tibia": 1e5},
            extent_mm=(100.0, 60.0, 80.0),
            straight_mm=straight_mm,
            side=side,
        )
        for name, side in sides.items()
    }
    some = Intensities(mean=0, deviation=1, percentile_00_5=-1, percentile_99_5=1, minimum=-1, maximum=1)
    return Fingerprint(cases=cases, intensities=(some,), structures=("tibia",), orientations=("SPL",))


def test_a_configuration_of_bones() -> None:
    both = bone_configuration(fingerprint(a="left", b="right", c="left"), CPU, "completion", PriorSettings())
    assert both.task == "completion" and both.prior == PriorSettings()
    assert both.preprocessing.grid == (88, 56, 72) and both.preprocessing.spacing == (1.5, 1.5, 1.5)
    assert both.preprocessing.side == "left"
    assert both.training.epochs == 0
    assert not both.preprocessing.straightened
    one = bone_configuration(fingerprint(a=None, b=None), CPU, "registration", None)
    assert one.preprocessing.side is None and one.prior is None
    assert one.preprocessing.folder != both.preprocessing.folder


def test_bones_that_lie_askew_are_straightened_where_their_grid_shrinks_by_a_third() -> None:
    """124 x 84 x 104 mm with margins; straight 124 x 54 x 104: 0.64 of it."""
    less = bone_configuration(fingerprint((100.0, 30.0, 80.0), a=None), CPU, "registration", None)
    assert less.preprocessing.straightened and less.preprocessing.folder.endswith("_straight")
    assert less.preprocessing.grid[1] * less.preprocessing.spacing[1] < 84


@pytest.mark.parametrize(("budget", "finest", "shape"), [(CPU, 1.5, (60, 60, 60)), (GPU, 0.5, (90, 90, 90))])
def test_bones_are_found_by_pieces_on_voxels_no_finer_than_the_grid(
    budget: Budget, finest: float, shape: tuple[int, int, int]
) -> None:
    found = bone_segmentation(fingerprint(a=None), TIBIA, budget, finest)
    assert found.task == "segmentation" and found.previous_stage is None
    assert found.preprocessing.folder == "3d_segmentation"
    assert found.preprocessing.spacing == (max(1.0, finest),) * 3
    assert found.preprocessing.median_shape == shape
    voxels, usual = (
        math.prod(c.training.crop)
        for c in (found, hybrid_transformer(fingerprint(a=None), TIBIA, budget, finest))
    )
    assert voxels < usual or voxels >= math.prod(shape)
    tokens = voxels // math.prod(found.network.token)
    assert found.inference.whole_volume_tokens == tokens  # larger scans in windows


def test_a_completion_is_planned_with_what_finds_its_bone() -> None:
    seen = fingerprint(a="left", b="left")
    proposed = [task.configurations(seen, TIBIA, CPU) for task in tasks_for("completion", labelled=True)]
    planned = {name: c for each in proposed for name, c in each.items()}
    found = {name: c for name, c in planned.items() if isinstance(c, CropConfiguration)}
    assert set(found) == {"3d_segmentation"}
    first = next(iter(planned.values()))
    assert isinstance(first, BoneConfiguration)
    assert found["3d_segmentation"].preprocessing.spacing == first.preprocessing.spacing
    published = task_named("completion").published(planned, seen, CPU)
    assert published["3d_segmentation"] is planned["3d_segmentation"]
