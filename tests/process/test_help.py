"""Every command answers -h at once, and without torch."""

import subprocess
import sys
import time
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
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        answer = subprocess.run([SCRIPTS / script, "-h"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)
        assert f"usage: {script}" in answer.stdout
    assert min(seconds) <= 0.3


@pytest.mark.parametrize("entry", COMMANDS.values())
def test_help_loads_nothing_heavy(entry: str) -> None:
    answer = subprocess.run([sys.executable, "-c", ASK, entry], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
