"""The plan of data that are only described, and the plan in words."""

import json
import subprocess
import sys

import pytest

from kneeformer.config import CropConfiguration
from kneeformer.errors import KneeformerError
from kneeformer.planning.budget import Budget
from kneeformer.plans import Plan, parse_plan
from kneeformer.plans.table import plan_table, recommended, training_hours
from kneeformer.workflows.what_if import plan_what_if

pytestmark = pytest.mark.slow

KNEE, SPACING = (36, 320, 320), (3.1, 0.44, 0.44)


def knees(budget: Budget, unlabelled: int = 0) -> Plan:
    return plan_what_if(KNEE, SPACING, 50, unlabelled, 6, budget)


def test_the_command_prints_the_plan_that_the_function_makes() -> None:
    words = "--what_if --shape 36x320x320 --spacing 3.1x0.44x0.44 --cases 50 --structures 6 --device cuda"
    command = [sys.executable, "-c", "from kneeformer.cli.plan import main; main()", *words.split()]
    printed = subprocess.run(
        [*command, "--memory", "24", "--hours", "3", "--json"], check=True, capture_output=True, text=True
    ).stdout
    assert parse_plan(json.loads(printed), "printed") == knees(Budget("cuda", 24.0, hours_given=3.0))


def test_eight_times_the_hours_have_twice_the_steps_and_see_more() -> None:
    hour, night = (knees(Budget("cpu", 24.0, hours_given=h)).configuration("3d_vit") for h in (1.0, 8.0))
    assert isinstance(hour, CropConfiguration) and isinstance(night, CropConfiguration)
    assert [c.training.epochs * c.training.steps_per_epoch for c in (hour, night)] == [3000, 6000]
    assert hour.evidence is not None and night.evidence is not None
    assert night.evidence.crop_share_of_volume > 1.5 * hour.evidence.crop_share_of_volume


def test_a_plan_says_what_it_costs_and_what_it_sees() -> None:
    vit = knees(Budget("cuda", 24.0)).configuration("3d_vit")
    assert isinstance(vit, CropConfiguration) and vit.evidence is not None
    estimate = vit.evidence.estimate
    assert estimate is not None and estimate.device == "cuda" and estimate.memory_mb < 24 * 1024
    assert (vit.evidence.crop_share_of_volume, vit.evidence.limit, vit.evidence.cases) == (1, "volume", 50)
    steps = vit.training.epochs * vit.training.steps_per_epoch
    assert training_hours(vit) == pytest.approx(steps * estimate.seconds_per_step / 3600)


@pytest.mark.parametrize(
    ("budget", "limit"),
    [(Budget("cpu", 8), "time"), (Budget("cuda", 4), "memory"), (Budget("cuda", 24), "volume")],
)
def test_what_keeps_a_crop_from_seeing_more(budget: Budget, limit: str) -> None:
    evidence = knees(budget).configuration("3d_vit").evidence
    assert evidence is not None and evidence.limit == limit


def test_without_half_precision_maps_are_twice_as_large() -> None:
    half, full = (
        plan_what_if((36, 50, 35), (1.0, 1.0, 1.0), 50, 0, 2, Budget("cpu", 8, bfloat16=b))
        .configuration("3d_vit")
        .evidence
        for b in (True, False)
    )
    assert half is not None and full is not None and half.estimate is not None and full.estimate is not None
    assert full.estimate.memory_mb > half.estimate.memory_mb


def test_the_table_has_what_is_recommended_its_previous_stage_and_the_reasons() -> None:
    plan = knees(Budget("cpu", 8), unlabelled=200)
    lines = plan_table(plan).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["3d_vit", "3d_mae"]
    assert lines[3:5] == ["also planned: 3d_vit_linear", ""]
    assert recommended(plan) == "3d_vit" and "recommended: 3d_vit" in lines
    assert "3d_mae" in lines[1] and "limited by training time" in "\n".join(lines)
    assert len(lines) < 15 and max(map(len, lines)) <= 110


def test_a_machine_on_which_nothing_fits_is_refused() -> None:
    with pytest.raises(KneeformerError, match=r"the smallest crop takes \d+ MB on cuda, of 0.01 GB given"):
        knees(Budget("cuda", 0.01))


def test_images_alone_begin_with_pre_training() -> None:
    only = knees(Budget("cpu", 8)).configurations["3d_mae"].model_copy(update={"inherits_from": None})
    plan = knees(Budget("cpu", 8)).model_copy(update={"configurations": {"3d_mae": only}})
    assert recommended(plan) == "3d_mae"


def test_a_device_that_there_is_not_is_refused() -> None:
    with pytest.raises(KneeformerError, match="'tpu' is not one of cpu, mps, cuda"):
        Budget("tpu", 8)
