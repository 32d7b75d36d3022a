"""torchrun on this machine: the processes of `kf_train -num_gpus N`."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from kneeformer.data.processes import default_processes
from kneeformer.errors import WorkStopped
from kneeformer.networks import ranks


def run_ranks(module: str, words: Sequence[str], processes: int) -> int:
    """Run a module in several processes that share the cores, and return its exit status.

    Raises:
        WorkStopped: a process was killed or has crashed; the message gives its rank.
    """
    _let_ranks_speak_for_themselves()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, default_processes() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *words)
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except ChildFailedError as fault:
        return _status(fault)
    return 0


def _status(fault: ChildFailedError) -> int:
    """Exit status of the first rank to end. Raises WorkStopped: it was killed or has crashed."""
    own = {rank: f for rank, f in fault.failures.items() if f.exitcode != ranks.LOST}
    if not own:
        raise WorkStopped("the ranks have lost their connection; see training.log of the fold")
    rank, failure = min(own.items(), key=lambda named: named[1].timestamp)
    if failure.exitcode >= 0:
        return int(failure.exitcode)
    name = signal.Signals(-failure.exitcode).name
    how = "was killed (SIGKILL): most often memory ran out" if name == "SIGKILL" else f"crashed ({name})"
    raise WorkStopped(f"rank {rank} (process {failure.pid}) {how}; the other ranks have ended with it")


def _let_ranks_speak_for_themselves() -> None:
    """Silence torchrun's report of a fault and gloo's of its connections: ranks print their own."""
    for name in [n for n in logging.root.manager.loggerDict if n.startswith("torch.distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
