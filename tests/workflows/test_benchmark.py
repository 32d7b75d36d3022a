"""kf_benchmark measures what it says, and prints a table."""

import pytest
from prepared import SHAPE, plan

from kneeformer.cli.benchmark import table
from kneeformer.config import Cost
from kneeformer.errors import KneeformerError
from kneeformer.workflows.benchmark import Measured, benchmark, described_plan


def test_three_things_are_measured_and_the_step_has_its_formula() -> None:
    rows = benchmark(plan(), "3d_vit", SHAPE, (2.0, 1.0, 1.0), "cpu")
    assert [row.what.split()[0] for row in rows] == ["preprocessing", "training", "prediction"]
    assert all(row.seconds > 0 and row.memory_mb > 50 for row in rows)
    assert [row.formula is None for row in rows] == [True, False, True]


def test_the_described_cases_are_planned_for_this_device() -> None:
    made = described_plan((12, 64, 64), (3.0, 0.5, 0.5), 2, "cpu", 2.0)
    assert made.dataset.scheme.outputs == 3
    evidence = made.configuration("3d_vit").evidence
    assert evidence is not None and evidence.estimate is not None and evidence.estimate.device == "cpu"


def test_a_configuration_that_predicts_nothing_is_refused() -> None:
    with pytest.raises(KneeformerError):
        benchmark(plan(), "3d_mae", SHAPE, (1.0, 1.0, 1.0), "cpu")


def test_the_table_by_hand() -> None:
    cost = Cost(device="cpu", memory_mb=2000, seconds_per_step=0.25)
    rows = [Measured("training step", 0.5, 1234.4, cost), Measured("prediction of a case", 2.0, 10.0)]
    assert table(rows).splitlines()[2:] == [
        "| training step | 0.50 | 1,234 | 0.25 | 2,000 |",
        "| prediction of a case | 2.00 | 10 |  |  |",
    ]
