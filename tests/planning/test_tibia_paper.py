"""The published recipe for bones: its printed values, and a configuration for each cell of its table."""

import json

import pytest

from kneeformer.config import Configuration, DatasetSettings
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint, Intensities
from kneeformer.plans import Plan, parse_plan
from kneeformer.tasks.bone_completion.settings import BoneConfiguration
from kneeformer.tasks.registry import task_named, tasks_for

CPU, GPU = Budget("cpu", 8), Budget("cuda", 40)
BONES = DatasetSettings(
    name="Dataset002_Tibia",
    channel_names=("CT",),
    labels={"background": 0, "tibia": 1},
    file_ending=".nii.gz",
)
SEEN = Intensities(mean=1, deviation=1, percentile_00_5=0, percentile_99_5=2, minimum=0, maximum=3)


def planned(bones: int = 31, budget: Budget = CPU) -> dict[str, BoneConfiguration]:
    case = CaseFingerprint(
        shape=(90, 80, 85),
        file_shape=(100, 100, 100),
        spacing=(1, 1, 1),
        orientation="SPL",
        volumes_mm3={"tibia": 1.0},
        extent_mm=(95.0, 75.0, 80.0),
        straight_mm=(95.0, 75.0, 80.0),
    )
    fingerprint = Fingerprint(
        orientations=("SPL",),
        cases={f"c{i}": case for i in range(bones)},
        intensities=(SEEN,),
        structures=("tibia",),
        unlabelled=0,
    )
    proposed: dict[str, Configuration] = {}
    for task in tasks_for("completion", labelled=True):
        proposed |= task.configurations(fingerprint, BONES, budget)
    planned = task_named("completion").published(proposed, fingerprint, budget)
    return {n: c for n, c in planned.items() if isinstance(c, BoneConfiguration)}


def test_five_priors_after_each_of_four_registrations_and_two_of_them_tuned() -> None:
    after: dict[str, list[str]] = {}
    for name, configuration in planned().items():
        if configuration.prior is not None:
            after.setdefault(str(configuration.previous_stage), []).append(name)
    priors = ["3d_prototype", "3d_pca32", "3d_pca16", "3d_vae", "3d_vqvae"]
    tuned = ["3d_vae_tuned", "3d_vqvae_tuned"]
    suffixes = {"3d_unregistered": "_unregistered", "3d_ags": "_ags", "3d_stn": "_stn", "3d_stn_robust": ""}
    for stage, suffix in suffixes.items():
        assert sorted(after.pop(stage)) == sorted(p + suffix for p in (*priors, *tuned))
    assert not after


def test_nothing_is_refined_or_continued_and_a_prior_registers_as_the_stage_before_it() -> None:
    plan = planned()
    for configuration in plan.values():
        assert configuration.registration.steps == 0
        if configuration.prior is not None and configuration.previous_stage is not None:
            assert not configuration.prior.residual
            assert configuration.registration == plan[configuration.previous_stage].registration


def test_the_printed_values() -> None:
    plan = planned()
    direct = plan["3d_ags"].registration
    assert direct.descent is not None and direct.descent.learning_rate == 1e-5
    assert (direct.descent.steps, direct.rounds) == (50, 100)
    # 25 of 31 bones train: two batches of 16 an epoch
    for name, epochs in (("3d_stn", 1000), ("3d_stn_robust", 1000), ("3d_vae_ags", 500), ("3d_vqvae", 500)):
        training = plan[name].training
        assert training.epochs * training.steps_per_epoch == 2 * epochs
        assert (training.batch_size, training.learning_rate, training.warmup_steps) == (16, 1e-5, 0)
    robust = plan["3d_stn_robust"]
    assert robust.previous_stage == "3d_stn" and robust.learning is not None
    assert (robust.learning.rotation_degrees, robust.learning.shift_mm) == (15, 25)
    assert robust.learning.scale == (0.9, 1.1)


def test_a_tuned_autoencoder_learns_as_by_default_and_is_otherwise_the_printed_one() -> None:
    plan = planned()
    for name in ("3d_vae", "3d_vqvae"):
        for suffix in ("_unregistered", "_ags", "_stn", ""):
            printed, tuned = plan[name + suffix], plan[f"{name}_tuned{suffix}"]
            assert tuned.compatibility_key() == printed.compatibility_key()
            assert tuned.training.learning_rate > 10 * printed.training.learning_rate
            assert tuned.training.batch_size == 4 and tuned.learning is not None
            assert tuned.learning.rotation_degrees == 3


def test_plain_priors_see_whole_bones_and_robust_ones_never() -> None:
    plan = planned()
    hidden = {n: c.learning.hidden_probability for n, c in plan.items() if c.learning is not None}
    assert {n for n, probability in hidden.items() if probability == 1} == {
        "3d_stn_robust",
        "3d_vae",
        "3d_vqvae",
        "3d_vae_tuned",
        "3d_vqvae_tuned",
    }
    assert all(probability in (0, 1) for probability in hidden.values())


@pytest.mark.parametrize(("budget", "spacing"), [(CPU, 4.0), (GPU, 1.0)])
def test_a_cpu_has_time_for_a_coarse_grid_alone(budget: Budget, spacing: float) -> None:
    for configuration in planned(budget=budget).values():
        assert configuration.preprocessing.spacing == (spacing,) * 3
        assert configuration.training.crop == configuration.preprocessing.grid


def test_few_bones_are_one_batch() -> None:
    assert planned(bones=5)["3d_stn"].training.batch_size == 4


def test_the_plan_survives_its_file() -> None:
    plan = Plan(plans_name="paperPlans", dataset=BONES, configurations=dict(planned()))
    assert parse_plan(json.loads(plan.to_text()), "test") == plan
