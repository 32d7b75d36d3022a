"""Interrupts: Ctrl-C (SIGINT) and kill (SIGTERM) end a command, at once or at a safe point."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMPATIENCE_SECONDS = 3.0  # further presses of Ctrl-C within them are one


class Interrupted(KeyboardInterrupt):
    """A KeyboardInterrupt that knows the number of its signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def raise_interrupts() -> None:
    """Let either signal raise `Interrupted`; one that follows soon after does not disturb the clean-up."""
    raised = -IMPATIENCE_SECONDS

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal raised
        if time.monotonic() - raised >= IMPATIENCE_SECONDS:
            raised = time.monotonic()
            raise Interrupted(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as shells start background jobs
            signal.signal(number, interrupt)


def ignore_interrupts() -> None:
    """Ignore both signals: the process is ending already, or its parent will end it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Defer interrupts within the block, which polls for them and ends at a safe point.

    An interrupt is delivered when the block is left, or at once if it is sent again after IMPATIENCE_SECONDS.

    Yields:
        A function that is True once an interrupt has come.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are not for other threads
        yield lambda: False
        return
    came: list[tuple[int, float]] = []

    def note(number: int, _: FrameType | None) -> None:
        if not came:
            came.append((number, time.monotonic()))
        elif time.monotonic() - came[0][1] >= IMPATIENCE_SECONDS:
            restore()
            signal.raise_signal(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield lambda: bool(came)
    finally:
        restore()
    if came:
        signal.raise_signal(came[0][0])
