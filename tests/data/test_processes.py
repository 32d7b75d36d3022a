"""run_each: real children, really killed."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kneeformer.data.disk import DiskError
from kneeformer.data.processes import WorkerDied, child_importing, default_processes, run_each
from kneeformer.errors import KneeformerError

pytestmark = pytest.mark.slow

DEATHS = {"segfault": signal.SIGSEGV, "abort": signal.SIGABRT, "kill": signal.SIGKILL}


def work(order: object) -> object:
    """Obey: square a number, or die or fail as told."""
    if isinstance(order, int):
        return order * order
    if order in DEATHS:
        os.kill(os.getpid(), DEATHS[str(order)])
    if order == "exit":
        os._exit(7)
    if order == "user fault":
        raise KneeformerError("knee.nrrd: cannot be read; export it again")
    if order == "disk":
        raise OSError(errno.EACCES, "Permission denied", "/scans/knee.nrrd")
    if order == "full":
        raise DiskError("/prepared/K01.b2nd: the disk is full; free some space")
    raise ValueError(order)


def where(_: object) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def die_once(marker: Path) -> str:
    """Killed the first time; a second call would answer."""
    if marker.exists():
        return "called twice"
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def run(orders: list[object], processes: int = 2) -> list[object]:
    return run_each(work, orders, [f"case {i}" for i in range(len(orders))], processes)


def test_results_come_back_in_the_order_of_the_items() -> None:
    assert run(list(range(7))) == [0, 1, 4, 9, 16, 25, 36]


def test_nothing_to_do() -> None:
    assert run([]) == []


def test_every_death_is_named_and_costs_no_other_item() -> None:
    outcomes = run([1, "segfault", 2, "exit", "abort", 3, "kill", 4])
    dead = [o for o in outcomes if isinstance(o, WorkerDied)]
    assert [o for o in outcomes if isinstance(o, int)] == [1, 4, 9, 16]
    assert [d.name for d in dead] == ["case 1", "case 3", "case 4", "case 6"]
    assert [d.how.split(":")[0] for d in dead] == [
        "crashed (SIGSEGV)",
        "ended early (exit status 7)",
        "crashed (SIGABRT)",
        "was killed (SIGKILL)",
    ]
    assert str(dead[0]) == (
        "case 1: the process that worked on it crashed (SIGSEGV): "
        "the file may be damaged; export it again or remove it"
    )
    assert "memory ran out; use fewer processes (-np)" in str(dead[3])


def work_and_tell(item: tuple[object, Path]) -> object:
    order, told = item
    with told.open("a") as file:
        file.write(f"{order}\n")
    return work(order)


def test_a_disk_that_takes_no_more_ends_the_work(tmp_path: Path) -> None:
    told, orders = tmp_path / "told", [1, "full", 2, 3]
    with pytest.raises(DiskError, match=r"K01\.b2nd: the disk is full"):
        run_each(work_and_tell, [(order, told) for order in orders], list("abcd"), 1)
    assert told.read_text().split() == ["1", "full"]


def test_one_process_is_still_a_child() -> None:
    outcomes = run([2, "segfault", 3], processes=1)
    assert [outcomes[0], outcomes[2]] == [4, 9]
    assert isinstance(outcomes[1], WorkerDied)


def test_a_killed_item_is_not_tried_again(tmp_path: Path) -> None:
    (outcome,) = run_each(die_once, [tmp_path / "marker"], ["case"], 1)
    assert isinstance(outcome, WorkerDied)


def test_exceptions_are_values_and_keep_their_text() -> None:
    outcomes = run(["user fault", 5, "odd", "disk"])
    assert isinstance(outcomes[0], KneeformerError)
    assert str(outcomes[0]) == "knee.nrrd: cannot be read; export it again"
    assert outcomes[1] == 25
    assert isinstance(outcomes[2], ValueError)
    assert isinstance(outcomes[3], KneeformerError)
    assert str(outcomes[3]) == (
        "case 3: /scans/knee.nrrd: permission denied; change its owner or its permissions, or choose "
        "another place"
    )


def test_progress_counts_every_item_once() -> None:
    counts: list[int] = []
    run_each(work, [1, "exit", 2], ["a", "b", "c"], 2, counts.append)
    assert counts == [1, 2, 3]


def test_children_share_the_processors() -> None:
    (first, threads), (second, _) = run_each(where, [0, 1], ["a", "b"], 2)
    assert os.getpid() not in {first, second}
    assert threads == str(max(1, (os.cpu_count() or 1) // 2))


def test_lambdas_can_be_run() -> None:
    factor = 3
    assert run_each(lambda x: factor * x, [1, 2], ["a", "b"], 1) == [3, 6]


SLEEPER = """
import os, signal, sys, time
from pathlib import Path
from kneeformer.data.processes import run_each

# a shell starts what runs in the background deaf to interrupts, and its children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

def sleep(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)

run_each(sleep, [sys.argv[1]] * 2, ["a", "b"], 2)
"""


@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGKILL])
def test_children_end_with_the_command(tmp_path: Path, death: signal.Signals) -> None:
    script, seen = tmp_path / "script.py", tmp_path / "seen"  # no "if __name__ == '__main__'" needed
    script.write_text(SLEEPER)
    seen.mkdir()
    command = subprocess.Popen(
        [sys.executable, script, seen],
        env=child_environment(),
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: len(list(seen.iterdir())) == 2)
    children = [int(p.name) for p in seen.iterdir()]
    command.send_signal(death)
    _, errors = command.communicate(timeout=10)
    wait_until(lambda: not any(map(is_running, children)))
    assert command.returncode == (-signal.SIGKILL if death == signal.SIGKILL else -signal.SIGINT)
    assert death == signal.SIGKILL or b"KeyboardInterrupt" in errors


def linger(_: int) -> None:
    """The process would end minutes after its work."""
    threading.Thread(target=time.sleep, args=(600,)).start()


def test_children_are_not_waited_for_when_their_work_is_done() -> None:
    assert run_each(linger, [0, 1], ["a", "b"], 2) == [None, None]
    assert not any(is_worker(child) for child in psutil.Process().children())


def test_a_worker_starts_without_torch_and_quickly() -> None:
    code = (
        "import sys; from kneeformer.data import check, processes; "
        "sys.exit('torch' in sys.modules or 'joblib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True)
    outcome = run_each(lambda _: "torch" in sys.modules, [0], ["a"], 1)
    assert outcome == [False]


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def is_worker(process: psutil.Process) -> bool:
    try:
        return "popen_loky" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # or a zombie
        return False


def is_running(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(happened: Callable[[], bool], seconds: float = 15) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.05)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not pinned to cores here")
def test_as_many_processes_as_cores_that_were_lent() -> None:
    def on_one_core() -> int:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread alone
        return default_processes()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(on_one_core).result() == 1
    assert default_processes() == len(os.sched_getaffinity(0))


def has_loaded(module: str) -> bool:
    return module in sys.modules


def test_a_child_imports_what_its_first_items_need_beside_the_block() -> None:
    """The next `run_each` has a child of its own again."""
    with child_importing("colorsys", 1):
        assert [run_each(has_loaded, ["colorsys"], ["one"], 1) for _ in range(2)] == [[True], [False]]


def test_a_child_that_is_not_needed_ends_with_its_block() -> None:
    me = psutil.Process()
    before = set(me.children())
    with suppress(KneeformerError), child_importing("colorsys", 1):
        started = {c for c in me.children() if "resource_tracker" not in " ".join(c.cmdline())} - before
        raise KneeformerError("no such model")
    assert started and not any(child.is_running() for child in started)


def test_a_child_that_dies_before_its_first_item_is_replaced() -> None:
    me = psutil.Process()
    before = set(me.children())
    with child_importing("colorsys", 1):
        for child in set(me.children()) - before:
            if "resource_tracker" not in " ".join(child.cmdline()):
                time.sleep(1)  # it is idle by then
                child.kill()
        time.sleep(0.5)
        assert run_each(has_loaded, ["sys"], ["one"], 1) == [True]


def test_interrupts_are_blocked_in_the_very_first_child() -> None:
    """Until it ignores them: multiprocessing's resource tracker starts beside it."""
    code = (
        "import signal; from functools import partial; from kneeformer.data.processes import run_each\n"
        "if __name__ == '__main__':\n"
        "    print(run_each(partial(signal.pthread_sigmask, signal.SIG_BLOCK), [()], ['a'], 1))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "SIGINT" in said and "SIGTERM" in said
