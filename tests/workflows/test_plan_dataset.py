"""What planning keeps of a person's edits, and says of the folds."""

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prepared import LABELLED, NAME, Place, plan

from kneeformer.config import Cost, CropConfiguration, Evidence
from kneeformer.data.dataset import Dataset
from kneeformer.errors import KneeformerError
from kneeformer.planning.budget import Budget, Limits
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint
from kneeformer.plans import Plan, override
from kneeformer.workflows.folder_lock import one_at_a_time
from kneeformer.workflows.plan import corrected, plan_dataset, replace_plan, split_cases
from kneeformer.workflows.what_if import plan_what_if


def planned(epochs: int) -> Plan:
    return override(plan(), "3d_vit", [f"training.epochs={epochs}"])


def test_of_commands_at_once_none_loses_a_plan_that_another_kept(tmp_path: Path) -> None:
    file = tmp_path / "kfPlans.json"
    edited = planned(99).to_text().replace("  ", "   ")  # as a person left it, to the last blank
    file.write_text(edited)

    def command(epochs: int) -> None:
        with one_at_a_time(tmp_path, "kf_plan"):
            replace_plan(file, planned(epochs))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(command, range(1, 9)))
    texts = [f.read_text() for f in tmp_path.glob("*.json")]
    assert sorted(texts) == sorted([edited, *(planned(n).to_text() for n in range(1, 9))])


def test_a_plan_that_says_the_same_is_not_kept_twice_and_a_damaged_one_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "kfPlans.json"
    for _ in range(2):
        replace_plan(file, planned(1))
    assert [f.name for f in tmp_path.iterdir()] == ["kfPlans.json"]
    file.write_text("{")
    replace_plan(file, planned(1))
    assert sorted(f.read_text() for f in tmp_path.iterdir()) == sorted(["{", planned(1).to_text()])


def test_what_the_folds_leave_out_is_said_at_planning(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    case = CaseFingerprint.model_construct(volumes_mm3={"femur": 0.0})
    cases = {
        **dict.fromkeys(LABELLED, case),
        "e": CaseFingerprint.model_construct(volumes_mm3={"femur": 2.0}),
    }
    fingerprint = Fingerprint.model_construct(cases=cases, structures=("femur",))
    with caplog.at_level(logging.WARNING):
        split_cases(
            Dataset.open(place.raw), fingerprint, place.folders.preprocessed / NAME / "splits_final.json"
        )
    assert "femur: e alone has it; no val case has it in fold 0, 1: cannot be validated there" in caplog.text


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("sorting", "task 'sorting' is not one of segmentation, pretraining, completion, registration"),
        ("pretraining", "task 'pretraining' prepares networks for others"),
    ],
)
def test_a_task_that_there_is_not_is_refused(place: Place, task: str, message: str) -> None:
    place.write(NAME, {}, task=task)
    with pytest.raises(KneeformerError, match=rf"dataset\.json: {message}"):
        plan_dataset(place.folders, NAME, 1, lambda *_: None)


def test_hours_are_refused_where_they_decide_nothing(place: Place) -> None:
    place.write(NAME, {}, task="completion")
    with pytest.raises(KneeformerError, match="--hours: lengths of trainings for completion do not depend"):
        plan_dataset(place.folders, NAME, 1, lambda *_: None, limits=Limits(hours=8.0))


@pytest.mark.parametrize(
    ("seconds", "speed"), [(0.6, 1.0), (1.9, 1.0), (1.0 / 4.2, 4.0), (1.0 / 7.6, 8.0), (5.3, 0.25)]
)
def test_a_measured_speed_counts_where_it_is_far_from_the_typical(seconds: float, speed: float) -> None:
    estimate = Cost(device="cpu", memory_mb=900, seconds_per_step=1.0)
    seen = Evidence(crop_share_of_volume=1, tokens_per_crop=8, estimate=estimate)
    configuration = plan().configuration("3d_vit").model_copy(update={"evidence": seen})
    measured = Cost(device="cpu", memory_mb=900, seconds_per_step=seconds)
    found = corrected(Budget("cpu", 1.0), configuration, measured, given_gb=1.0)
    assert found == Budget("cpu", 1.0, measured_speed=speed)
    assert corrected(found, configuration, estimate, given_gb=1.0) == found  # once


def test_where_a_step_took_too_much_memory_the_next_is_promised_less() -> None:
    measured = Cost(device="cpu", memory_mb=2048, seconds_per_step=1.0)
    found = corrected(Budget("cpu", 1.0, 1.0), plan().configuration("3d_vit"), measured, given_gb=1.0)
    assert found.memory_gb == pytest.approx(0.45)


@pytest.mark.parametrize("speed", [0.1, 0.3, 0.45, 0.8, 2.5])
def test_on_a_machine_of_any_speed_the_hour_holds_the_planned_steps(speed: float) -> None:
    """Under two hours, for what is measured counts from twice the typical on, as a power of two."""

    def knees(budget: Budget) -> tuple[CropConfiguration, Cost]:
        planned = plan_what_if((36, 320, 320), (3.1, 0.44, 0.44), 50, 0, 6, budget).configuration("3d_vit")
        assert isinstance(planned, CropConfiguration) and planned.evidence is not None
        assert planned.evidence.estimate is not None
        return planned, planned.evidence.estimate

    typical, assumed = knees(Budget("cpu", 8.0, bfloat16=False))
    measured = assumed.model_copy(update={"seconds_per_step": assumed.seconds_per_step / speed})
    budget = corrected(Budget("cpu", 8.0, bfloat16=False), typical, measured, given_gb=8.0)
    chosen, cost = knees(budget)
    steps = chosen.training.epochs * chosen.training.steps_per_epoch
    hours = steps * cost.seconds_per_step * budget.speed / speed / 3600
    assert hours < (1.5 if not 0.5 <= speed <= 2 else 2)
    work = [math.prod(c.training.crop) * c.training.batch_size for c in (chosen, typical)]
    assert (work[0] < work[1]) == (speed < 0.5) and (work[0] > work[1]) == (speed > 2)
