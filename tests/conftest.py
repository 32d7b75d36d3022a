"""How the suite runs: over all cores, each worker on one thread; see decision 0019."""

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is loaded; child processes inherit it
LONG = ("process", "stages")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One a core for the whole suite; none for a part that is named: it begins at once, debugger or not."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named else min(os.cpu_count() or 1, 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that no worker is left alone with it."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)
