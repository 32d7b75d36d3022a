"""The published recipe: its printed values, and our rules on its grid."""

import json

import numpy as np
import pytest

from kneeformer.config import Configuration, CropConfiguration, DatasetSettings
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning import rules
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint, Intensities
from kneeformer.planning.knee_paper import paper_grid
from kneeformer.planning.spending import spend
from kneeformer.plans import Plan, parse_plan
from kneeformer.tasks.registry import task_named, tasks_for

CPU, GPU = Budget("cpu", 8.0), Budget("cuda", 24.0)
KNEES = DatasetSettings(
    name="Dataset001_Knee",
    channel_names=("PDFS",),
    labels={"background": 0, "femur": 1, "patella": 2},
    file_ending=".nrrd",
)


def fingerprint(spacings: list[Spacing], shapes: list[Size], unlabelled: int = 0) -> Fingerprint:
    """Cases whose box that is not empty is two voxels smaller than the file, along each axis."""
    cases = {
        f"case{i}": CaseFingerprint(
            shape=(shape[0] - 2, shape[1] - 2, shape[2] - 2),
            file_shape=shape,
            spacing=spacing,
            orientation="LIP",
            volumes_mm3={"femur": 100.0},
        )
        for i, (spacing, shape) in enumerate(zip(spacings, shapes, strict=True))
    }
    seen = Intensities(mean=1, deviation=1, percentile_00_5=0, percentile_99_5=2, minimum=0, maximum=3)
    return Fingerprint(
        orientations=("LIP",),
        cases=cases,
        intensities=(seen,),
        structures=("femur", "patella"),
        unlabelled=unlabelled,
    )


TEN = fingerprint([(3.5, 0.4, 0.4)] * 10, [(30, 400, 360)] * 10)


def configurations(seen: Fingerprint, budget: Budget) -> dict[str, CropConfiguration]:
    """All that the tasks propose for knees, by the paper's recipe."""
    proposed: dict[str, Configuration] = {}
    for task in tasks_for("segmentation", labelled=True):
        proposed |= task.configurations(seen, KNEES, budget)
    planned = task_named("segmentation").published(proposed, seen, budget)
    return {name: c for name, c in planned.items() if isinstance(c, CropConfiguration)}


def test_the_fewest_voxels_lie_along_the_largest_spacing() -> None:
    assert paper_grid(TEN)[0] == (36, 320, 320)
    assert paper_grid(fingerprint([(0.4, 3.5, 0.3)], [(400, 30, 400)]))[0] == (320, 36, 320)
    assert paper_grid(fingerprint([(0.4, 0.3, 3.5)], [(400, 400, 30)]))[0] == (320, 320, 36)


def test_the_spacing_is_that_of_the_median_file() -> None:
    # extents of 72, 108 and 144 mm along z; 160 mm in the plane
    seen = fingerprint([(3.0, 0.5, 0.5)] * 3, [(24, 320, 320), (36, 320, 320), (48, 320, 320)])
    assert paper_grid(seen)[1] == pytest.approx((3.0, 0.5, 0.5))
    seen = fingerprint([(3.0, 0.5, 0.5)], [(24, 256, 320)])
    assert paper_grid(seen)[1] == pytest.approx((2.0, 0.4, 0.5))


@pytest.mark.parametrize("budget", [CPU, GPU])
def test_the_printed_values(budget: Budget) -> None:
    planned = configurations(TEN, budget)
    assert set(planned) == {"3d_vit", "3d_vit_linear", "3d_mae"}
    for configuration in planned.values():
        preprocessing, training = configuration.preprocessing, configuration.training
        assert preprocessing.fixed_shape == preprocessing.median_shape == (36, 320, 320)
        assert preprocessing.folder == "paper_320x320x36" and not preprocessing.crop_to_nonzero
        assert preprocessing.interpolation == "linear" and preprocessing.thick_axis == 0
        assert [n.kind for n in preprocessing.normalisation] == ["unit"]
        assert (training.optimiser, training.learning_rate, training.epochs) == ("adam", 1e-4, 100)
        assert training.weight_decay > 0 and training.loss == "mse" and training.fine_tuning is None
        changes = configuration.augmentation
        assert changes.mirror_axes == ("RL",) and changes.affine_probability > 0
        assert (
            changes.blur_probability == changes.gamma_probability == changes.low_resolution_probability == 0
        )
        assert changes.brightness_probability == changes.contrast_probability == 0
    hybrid, linear, masked = (planned[n] for n in ("3d_vit", "3d_vit_linear", "3d_mae"))
    assert (hybrid.network.decoder, linear.network.decoder) == ("cnn", "linear")
    assert hybrid.previous_stage == linear.previous_stage == "3d_mae" and masked.previous_stage is None
    assert hybrid.augmentation.noise_probability > 0 and hybrid.augmentation.cutmix_probability > 0
    assert masked.augmentation.noise_probability == masked.augmentation.cutmix_probability == 0
    assert masked.masking is not None and masked.masking.target == "intensity"
    assert hybrid.masking is None


@pytest.mark.parametrize("budget", [CPU, GPU])
def test_what_is_not_printed_follows_our_rules_on_its_grid(budget: Budget) -> None:
    spacing = (30 * 3.5 / 36, 0.5, 0.45)
    for configuration in configurations(TEN, budget).values():
        network, crop = configuration.network, configuration.training.crop
        assert configuration.preprocessing.spacing == pytest.approx(spacing)
        ours = spend((36, 320, 320), spacing, cases=10, channels=1, outputs=3, budget=budget)
        assert (crop, configuration.training.batch_size) == (ours.crop, ours.batch)
        assert configuration.evidence is not None
        assert configuration.evidence.crop_share_of_volume == rules.crop_share(crop, (36, 320, 320))
        assert network.stem == ours.network.stem


def test_an_epoch_shows_the_voxels_of_the_training_cases() -> None:
    seen = fingerprint([(3.5, 0.4, 0.4)] * 10, [(30, 400, 360)] * 10, unlabelled=20)
    planned = configurations(seen, CPU)
    for name, cases in (("3d_vit", 8), ("3d_mae", 28)):  # eight of ten labelled train in a fold of five
        training = planned[name].training
        step = training.batch_size * float(np.prod(training.crop)) / (36 * 320 * 320)  # volumes
        assert cases <= training.steps_per_epoch * step < cases + step
    assert planned["3d_mae"].training.batch_size == planned["3d_vit"].training.batch_size
    assert planned["3d_vit"].teacher is None, "the paper has none, however many images have no labels"


def test_slices_that_are_thin_in_the_files_are_interpolated() -> None:
    seen = fingerprint([(0.7, 0.36, 0.36)] * 3, [(160, 384, 384)] * 3)
    planned = configurations(seen, CPU)["3d_vit"]
    assert planned.preprocessing.thick_axis is None and planned.preprocessing.spacing[0] > 3
    assert planned.augmentation.rotation_degrees == (15, 0, 0)


def test_the_plan_survives_its_file() -> None:
    plan = Plan(plans_name="paperPlans", dataset=KNEES, configurations=configurations(TEN, CPU))
    written = json.loads(plan.to_text())
    assert parse_plan(written, "test") == plan
    assert written["configurations"]["3d_vit_linear"] == {
        "inherits_from": "3d_vit",
        "network": {"decoder": "linear"},
    }
