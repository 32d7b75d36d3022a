"""Every command answers -h at once, and without torch."""

import resource
import subprocess
import sys
from importlib.metadata import distribution

import pytest
from workplace import SCRIPTS

COMMANDS = {e.name: e.value for e in distribution("kneeformer").entry_points if e.group == "console_scripts"}

ASK = """
import importlib, sys
module, function = sys.argv[1].split(":")
sys.argv[1:] = ["-h"]
try:
    getattr(importlib.import_module(module), function)()
finally:
    print(sorted({"torch", "numpy", "SimpleITK"} & set(sys.modules)))
"""


def test_the_commands_are_installed() -> None:
    assert {"kf_plan_and_preprocess", "kf_train", "kf_predict", "kf_evaluate", "kf_demo"} <= set(COMMANDS)


@pytest.mark.parametrize("script", COMMANDS)
def test_help_is_quick(script: str) -> None:
    before = processor_seconds()
    for _ in range(3):
        answer = subprocess.run([SCRIPTS / script, "-h"], capture_output=True, text=True, check=True)
        assert f"usage: {script}" in answer.stdout
    assert processor_seconds() - before <= 3 * 0.3


def processor_seconds() -> float:
    """Of all child processes that have ended: not of what else runs on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("entry", COMMANDS.values())
def test_help_loads_nothing_heavy(entry: str) -> None:
    answer = subprocess.run([sys.executable, "-c", ASK, entry], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
