"""Every metric that is declared stands in the reference as its specification says."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kneeformer import metrics
from kneeformer.metrics.metric import Metric
from kneeformer.metrics.overlap import DICE, VOLUME_ERROR
from kneeformer.metrics.surface_distance import HD95

PAGE = Path(__file__).parents[2] / "documentation" / "reference" / "metrics.md"
ROW = "| `{name}` | {meaning} | {unit} | {better} | {empty} | {mean} |"


def row(metric: Metric) -> str:
    """The line of the reference."""
    words = {key: "-" if value in ("", None) else value for key, value in metric.model_dump().items()}
    return ROW.format(**words)


def declared() -> Iterator[Metric]:
    """All specifications in kneeformer.metrics, alone or in a dictionary."""
    for module in pkgutil.iter_modules(metrics.__path__, "kneeformer.metrics."):
        for value in vars(importlib.import_module(module.name)).values():
            yield from (
                m for m in (value.values() if isinstance(value, dict) else [value]) if type(m) is Metric
            )


@pytest.mark.parametrize("metric", dict.fromkeys(declared()), ids=lambda metric: metric.name)
def test_a_metric_is_documented(metric: Metric) -> None:
    assert row(metric) in PAGE.read_text(encoding="utf-8").splitlines()


def test_nothing_else_is_documented() -> None:
    lines = re.findall(r"^\| `.*(?:higher|lower|-) \| .* \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {line for line in lines if line.count(" | ") == 5} == {row(metric) for metric in declared()}


def test_a_row_by_hand() -> None:
    assert row(VOLUME_ERROR) == (
        "| `VolumeError` | (predicted - reference) / reference volume | - | lower "
        "| undefined if the reference is empty, -1 if the prediction alone is | absolute values |"
    )


def test_names_and_values_are_printed_with_their_unit_and_form() -> None:
    assert (HD95.title, DICE.title) == ("HD95 mm", "Dice")
    assert (HD95.text(1.234), DICE.text(0.5), VOLUME_ERROR.text(-0.123)) == ("1.23", "0.500", "-12.3%")
    assert DICE.text(float("nan")) == "-"
    assert (VOLUME_ERROR.averaged(-0.5), DICE.averaged(-0.5)) == (0.5, -0.5)
