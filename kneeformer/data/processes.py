"""Work on many items in child processes, or on a cluster; a crash affects one item only."""

import faulthandler
import importlib
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from kneeformer.data.cluster import Cluster, current_cluster
from kneeformer.data.disk import DiskError, in_words
from kneeformer.errors import KneeformerError
from kneeformer.interrupts import SIGNALS, ignore_interrupts

Item = TypeVar("Item")
Result = TypeVar("Result")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLOSC_NTHREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


class WorkerDied(KneeformerError):
    """The process that worked on one item has died.

    Attributes:
        name: the item.
        how: the signal or exit status, in words.
    """

    def __init__(self, name: str, how: str) -> None:
        super().__init__(name, how)
        self.name = name
        self.how = how

    def __str__(self) -> str:
        return f"{self.name}: the process that worked on it {self.how}"


def default_processes() -> int:
    """One per core that this process may use: a SLURM job has fewer than its machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checking_processes() -> int:
    """Number of processes that check the inputs of a prediction: one per core, at most four."""
    return min(default_processes(), 4)


def run_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    names: Sequence[str],
    processes: int,
    done: Callable[[int], None] | None = None,
) -> list[Result | Exception]:
    """`function(item)` for every item, in child processes, or on the cluster of a `working_on` block.

    Each child holds one item at a time, so that a child that dies (a crash of a C library, a kill, memory
    that ran out) names its item exactly, costs no other item anything, and is replaced. With one process
    the work still happens in a child. An interrupt, or any exception of `done`, kills the children; and
    they end by themselves when this process is killed.

    Args:
        function: importable by name, or anything cloudpickle can carry.
        items: arguments, one per call; small, because they and the results pass through a pipe.
        names: names of the items in messages.
        processes: children at a time.
        done: called with the number of items finished so far, after each.

    Returns:
        For each item, in order: its result, the exception that `function` raised, or `WorkerDied`.

    Raises:
        DiskError: `function` raised it: no further item is begun, because it would fail too.
    """
    cluster = current_cluster()
    if cluster is not None:
        return _run_on(cluster, function, items, names, done)
    workers = [_Worker(processes) for _ in range(min(max(processes, 1), len(items)))]
    if workers and (ready := _ready.get()) is not None:
        workers[0] = ready
        _ready.set(None)
    outcomes: dict[int, Result | Exception] = {}
    waiting = iter(range(len(items)))
    running: dict[Future[Result], tuple[int, _Worker]] = {}
    try:
        idle = workers
        while len(outcomes) < len(items):
            for worker, index in zip(idle, waiting, strict=False):
                running[worker.start(function, items[index])] = index, worker
            finished = wait(running, return_when=FIRST_COMPLETED).done
            idle = []
            for future in finished:
                index, worker = running.pop(future)
                outcome: Result | Exception = worker.outcome(future, names[index])
                if isinstance(outcome, DiskError):
                    raise outcome
                outcomes[index] = outcome
                idle.append(worker)
                if done is not None:
                    done(len(outcomes))
        for worker in workers:
            worker.end(kill=True)  # it is idle; letting it end by itself takes 0.3 s
    except BaseException as fault:
        for worker in workers:
            worker.end(kill=not isinstance(fault, DiskError))
        raise
    return [outcomes[i] for i in range(len(items))]


@contextmanager
def child_importing(module: str, processes: int) -> Iterator[None]:
    """A child that imports a module while this process does other things, and works for the next `run_each`.

    Args:
        processes: as `run_each` will be given.
    """
    worker = _Worker(processes)
    worker.start(_import, module)
    before = _ready.set(worker)
    try:
        yield
    finally:
        if _ready.get() is worker:
            worker.end(kill=True)
        _ready.reset(before)


def _import(module: str) -> None:
    importlib.import_module(module)


def _run_on(
    cluster: Cluster,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    names: Sequence[str],
    done: Callable[[int], None] | None,
) -> list[Result | Exception]:
    def is_final(fault: BaseException) -> bool:
        return isinstance(fault, DiskError)

    outcomes = cluster.run_each(function, items, done or (lambda _: None), is_final)
    return [_answer(outcome, name) for outcome, name in zip(outcomes, names, strict=True)]


def _answer(outcome: Result | BaseException, name: str) -> Result | Exception:
    """An item's outcome in words: of the faults of the system, and of the workers that worked on it."""
    if isinstance(outcome, OSError) and outcome.errno is not None:
        return KneeformerError(f"{name}: {in_words(outcome)}")
    if type(outcome).__name__ == "KilledWorker":
        return WorkerDied(name, "was lost again and again: most often memory ran out; use smaller workers")
    if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Worker:
    """One child process at a time; a new one in place of one that died."""

    def __init__(self, beside: int) -> None:
        threads = str(max(1, default_processes() // max(beside, 1)))
        self._environment = dict.fromkeys(THREAD_VARIABLES, threads)
        self._executor: Any = None

    def start(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        resource_tracker.ensure_running()  # not inside the block: its start unblocks interrupts
        with _interrupts_blocked():
            try:
                return self._submit(function, item)
            except BrokenExecutor:  # the child died without an item
                self.end(kill=True)
                return self._submit(function, item)

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        from joblib.externals.loky import ProcessPoolExecutor  # 0.3 s: not before there is work

        if self._executor is None:
            # a child that has grown by 300 MB is replaced between two items: no news for the user
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
            self._executor = ProcessPoolExecutor(
                max_workers=1, initializer=_begin_child, initargs=(os.getpid(),), env=self._environment
            )
        future: Future[Result] = self._executor.submit(function, item)
        return future

    def outcome(self, future: Future[Result], name: str) -> Result | Exception:
        try:
            return future.result()
        except BrokenExecutor as fault:
            self.end(kill=True)
            return WorkerDied(name, _how(str(fault)))
        except Exception as fault:
            return _answer(fault, name)

    def end(self, kill: bool = False) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, kill_workers=kill)
            self._executor = None


_ready: ContextVar[_Worker | None] = ContextVar("ready", default=None)  # of `child_importing`, not used yet


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block interrupts, also in children that start here; the parent's own comes at the end of the block.

    Ctrl-C reaches every process of a terminal, but only the parent should act on it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_child(parent: int) -> None:
    ignore_interrupts()
    faulthandler.disable()  # the parent reports a crash in one line
    end_with(parent)


def end_with(parent: int) -> None:
    """End this process soon after its parent: a killed command leaves no process that writes files."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _how(message: str) -> str:
    """Words for the exit codes in loky's message, e.g. "crashed (SIGSEGV)"."""
    found = re.search(r"(SIG[A-Z]+|EXIT)\((-?\d+)\)", message)
    if found is None:
        return "ended without an answer"
    kind, number = found.groups()
    if kind == "SIGKILL":
        return "was killed (SIGKILL): most often memory ran out; use fewer processes (-np)"
    crash = f"ended early (exit status {number})" if kind == "EXIT" else f"crashed ({kind})"
    return f"{crash}: the file may be damaged; export it again or remove it"
