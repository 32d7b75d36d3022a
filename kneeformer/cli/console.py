"""What every command shares: faults without tracebacks, progress bars, common options. Quick to import."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def run(command: Callable[[], None]) -> None:
    """Run a command: a user's fault is one message and exit status 1, an interrupt is 130."""
    from kneeformer.errors import KneeformerError

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("kneeformer").setLevel(logging.INFO)
    try:
        command()
    except KneeformerError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nstopped; what was finished is kept", file=sys.stderr)
        sys.exit(130)


class Bars:
    """Progress bars with an ETA, one a piece of work, opened as `watch(what, done, total)` is called."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what:
            self.close()
            self._bar, self._what = tqdm(total=total, desc=what, file=sys.stderr), what
        assert self._bar is not None
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""


def positive(text: str) -> float:
    """Type of an option that must be a number above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def seed(text: str) -> int:
    """Type of an option that seeds generators: a whole number from 0 to 2^32 - 1."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {2**32 - 1}")
    return value


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-np",
        "--processes",
        type=int,
        default=None,
        metavar="N",
        help="cases worked on at a time (default: one a core)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-device",
        default=None,
        metavar="cpu|cuda|mps",
        help="where networks run (default: the best there is)",
    )


def add_plans(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--plans", default="kfPlans", metavar="NAME", help="plans file, without .json")
