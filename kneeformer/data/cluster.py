"""Work on many items on the workers of a dask cluster."""

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kneeformer.errors import KneeformerError

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

_ANSWERS_WITHIN_S = 10
_BACK_WITHIN_S = 60  # for a worker, after all were lost
_ROUNDS = 3  # attempts at work that was lost with workers
_current: ContextVar["Cluster | None"] = ContextVar("cluster", default=None)


class Cluster:
    """Workers behind one dask scheduler, on machines that reach the same folders as this one."""

    def __init__(self, client: "Client", address: str) -> None:
        self._client = client
        self._address = address

    def run_each(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        done: Callable[[int], None],
        ends: Callable[[BaseException], bool],
    ) -> list[Result | BaseException]:
        """`function(item)` for every item; a worker that is lost has its items computed by another.

        The function, with all that it holds, travels to each worker once.

        Args:
            done: called with the number of items finished so far, after each.
            ends: returns True for an exception after which no further item is begun.

        Returns:
            For each item, in order: its result or its exception. `KilledWorker` is that of an item whose
            workers were lost several times, perhaps because of it.

        Raises:
            KneeformerError: the scheduler is lost, or all workers are and none comes back.
        """
        outcomes: dict[int, Result | BaseException] = {}
        for _ in range(_ROUNDS):
            if waiting := [i for i in range(len(items)) if i not in outcomes]:
                try:
                    self._wait_for_a_worker()
                    self._one_round(function, items, waiting, outcomes, done, ends)
                except OSError as fault:
                    raise self._fault("the scheduler is gone", "start it and its workers again") from fault
        lost = KneeformerError(
            f"its worker was lost {_ROUNDS} times; see the logs of the workers, then repeat the command"
        )
        return [outcomes.get(i, lost) for i in range(len(items))]

    def unseen(self, paths: Sequence[Path]) -> dict[str, list[Path]]:
        """For each worker that does not see all paths, those that it does not see."""
        missing = self._client.run(_missing, list(paths))
        return {worker: found for worker, found in missing.items() if found}

    def _wait_for_a_worker(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_BACK_WITHIN_S)
        except TimeoutError as fault:
            remedy = f"start some with: dask worker {self._address}"
            raise self._fault("no worker is left", remedy) from fault

    def _fault(self, what: str, remedy: str) -> KneeformerError:
        return KneeformerError(f"--cluster {self._address}: {what}; {remedy}, then repeat the command")

    def _one_round(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        waiting: Sequence[int],
        outcomes: dict[int, Result | BaseException],
        done: Callable[[int], None],
        ends: Callable[[BaseException], bool],
    ) -> None:
        """Add the outcomes of the items numbered `waiting`, but for those that the scheduler forgot.

        It forgets an item whose function was only in the memory of a worker that is lost.
        """
        from distributed import as_completed
        from distributed.client import FutureCancelledError

        (there,) = self._client.scatter([function], broadcast=True, hash=False)  # type: ignore[no-untyped-call]
        these = [items[i] for i in waiting]
        futures = self._client.map(_call, these, function=there, pure=False, retries=0)
        index = {future.key: i for future, i in zip(futures, waiting, strict=True)}
        try:
            with self._client.as_current():
                for future in as_completed(futures):  # type: ignore[no-untyped-call]
                    fault = future.exception()
                    try:
                        outcomes[index[future.key]] = future.result() if fault is None else fault
                    except FutureCancelledError:
                        continue
                    if fault is not None and ends(fault):
                        raise fault
                    done(len(outcomes))
        finally:
            with suppress(OSError):  # the scheduler is gone
                self._client.cancel(futures)  # type: ignore[no-untyped-call]


@contextmanager
def working_on(address: str | None) -> Iterator[None]:
    """Everything that runs item by item in this block runs on the workers behind a scheduler; None: here.

    Args:
        address: such as tcp://HOST:8786.

    Raises:
        KneeformerError: dask is not installed, no scheduler answers, it has no worker, or a worker has
            another version of kneeformer.
    """
    if address is None:
        yield
        return
    with _connected(address) as client:
        _refuse_other_versions(client, address)
        token = _current.set(Cluster(client, address))
        try:
            yield
        finally:
            _current.reset(token)


def current_cluster() -> Cluster | None:
    """The cluster that work runs on in this block; None where it runs on this machine."""
    return _current.get()


def require_shared(*paths: Path, output: Path | None = None) -> None:
    """Check before the work that the workers of this block, if any, see the files of this machine.

    Args:
        paths: that they will read.
        output: folder that they will write to; it is made, and a temporary file is written there.

    Raises:
        KneeformerError: some do not.
    """
    cluster = current_cluster()
    if cluster is None:
        return
    if output is None:
        unseen = cluster.unseen(paths)
    else:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=output) as written:
            unseen = cluster.unseen([*paths, Path(written.name)])
    if unseen:
        missing = sorted({str(path if path in paths else output) for of in unseen.values() for path in of})
        raise KneeformerError(
            f"--cluster: {', '.join(missing)}: not seen by the workers {', '.join(sorted(unseen))}; keep it "
            f"on a disk that this machine and all of them share, under the same path"
        )


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    try:
        from distributed import Client
    except ImportError as fault:
        raise KneeformerError("--cluster needs dask: pip install 'kneeformer[cluster]'") from fault
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we report its faults, in one line
    try:
        asyncio.run(_greet(address))
        client = Client(address, timeout=_ANSWERS_WITHIN_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as fault:
        raise KneeformerError(
            f"--cluster {address}: no scheduler answers there; start one with: dask scheduler"
        ) from fault
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


async def _greet(address: str) -> None:
    """Raises OSError or ValueError: nobody answers as a scheduler does. `Client` would wait for ever."""
    from distributed.comm.core import connect

    comm = await asyncio.wait_for(connect(address, timeout=_ANSWERS_WITHIN_S), _ANSWERS_WITHIN_S)  # type: ignore[no-untyped-call]
    comm.abort()


def _refuse_other_versions(client: "Client", address: str) -> None:
    """Raises KneeformerError: there is no worker, or one without this version of kneeformer."""
    try:
        client.wait_for_workers(1, timeout=_ANSWERS_WITHIN_S)
    except TimeoutError as fault:
        raise KneeformerError(
            f"--cluster {address}: the scheduler has no worker; start some with: dask worker {address}"
        ) from fault
    here = _version()
    answers: dict[str, Any] = client.run(_version, on_error="return")
    try:
        answers["scheduler"] = client.run_on_scheduler(_version)  # type: ignore[no-untyped-call]
    except ImportError:  # of kneeformer, PackageNotFoundError included
        answers["scheduler"] = None
    others = {
        worker: answer if isinstance(answer, str) else "none"
        for worker, answer in answers.items()
        if answer != here
    }
    if others:
        listed = "".join(f"\n  {worker}: {found}" for worker, found in others.items())
        raise KneeformerError(
            f"--cluster {address}: everything in it needs kneeformer {here}, as it is here:{listed}"
        )


def _call(item: Item, function: Callable[[Item], Result]) -> Result:
    return function(item)


def _missing(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if not path.exists()]


def _version() -> str:
    return version("kneeformer")
