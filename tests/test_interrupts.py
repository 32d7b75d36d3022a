"""SIGINT and SIGTERM: one interrupt, however often they come, and never where it would do harm."""

import signal
import threading
from collections.abc import Iterator

import pytest

from kneeformer import interrupts
from kneeformer.interrupts import SIGNALS, Interrupted, deferred_interrupts, raise_interrupts


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of pytest, afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    raise_interrupts()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_either_signal_is_an_interrupt_that_knows_it(number: int) -> None:
    with pytest.raises(Interrupted) as stop:
        signal.raise_signal(number)
    assert stop.value.number == number


def test_three_in_a_row_are_one() -> None:
    cleared = False
    try:
        signal.raise_signal(signal.SIGINT)
    except Interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        cleared = True
    assert cleared


def test_a_later_one_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "IMPATIENCE_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


def test_what_a_shell_has_set_to_be_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_interrupts()
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_held_back_until_the_block_ends(number: int) -> None:
    done = []
    with pytest.raises(Interrupted) as stop, deferred_interrupts() as interrupted:
        done.append(interrupted())
        for _ in range(3):
            signal.raise_signal(number)
        done.append(interrupted())
    assert done == [False, True] and stop.value.number == number


def test_held_back_no_longer_than_one_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "IMPATIENCE_SECONDS", 0.0)
    done = []
    with pytest.raises(Interrupted), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append("first")
        signal.raise_signal(signal.SIGINT)
        done.append("second")
    assert done == ["first"]


def test_nothing_came() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts() as interrupted:
        assert not interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_has_none() -> None:
    found = []

    def work() -> None:
        with deferred_interrupts() as interrupted:
            found.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
