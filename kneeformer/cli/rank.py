"""A command in one of several processes that torchrun has started: rank 0 does it, the others follow."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable

from kneeformer.interrupts import ignore_interrupts

_TORCHRUN_ENDS_S = 5  # within which torchrun ends the other ranks after the first


def work_as_rank(device: str | None, lead: Callable[[str], None]) -> None:
    """Run the command on rank 0, serve its calls on the others, and end together.

    Args:
        device: as the command line names it, or None.
        lead: the command, on the device of this rank.

    Raises:
        KneeformerError: as `lead`; other ranks put their number before it.
    """
    from kneeformer.data.processes import end_with
    from kneeformer.networks import ranks

    end_with(os.getppid())
    try:
        with ranks.joined(device) as own:
            leads = ranks.leads()
            if leads:
                lead(own)
            else:
                _serve()
        if not leads:
            os._exit(0)  # with nothing left to do: at a usual exit, gloo's threads sometimes abort
    except ranks.RankLost:
        _wait_for_the_end(ranks.LOST)


def _wait_for_the_end(status: int) -> None:
    """Give torchrun time to end this process, once it knows which rank ended first; then exit."""
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_TORCHRUN_ENDS_S)
    os._exit(status)  # connections to ranks that are gone cannot be closed


def _serve() -> None:
    from kneeformer.errors import KneeformerError
    from kneeformer.networks import ranks

    ignore_interrupts()  # the leader ends at a safe point and tells the others
    logging.getLogger("kneeformer").setLevel(logging.WARNING)
    try:
        ranks.serve()
    except ranks.RankLost:
        raise
    except KneeformerError as fault:
        raise KneeformerError(f"rank {ranks.rank()}: {fault}") from fault
