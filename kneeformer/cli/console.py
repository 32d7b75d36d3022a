"""Shared by all commands: messages of faults and interrupts, progress bars. Quick to import."""

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from kneeformer.interrupts import Interrupted, ignore_interrupts, raise_interrupts

if TYPE_CHECKING:
    from kneeformer.engine.loop import ProgressEvent

# From the words a user typed: what a stopped command leaves, and the command that resumes it.
ResumeCommand = Callable[[list[str]], tuple[str, list[str]]]
_open_bars = ExitStack()  # of the command that runs


def run(command: Callable[[], None], resume_command: ResumeCommand, quiet: bool = False) -> None:
    """Run a command; on a fault or an interrupt, end the process with a message instead of a traceback.

    A fault of the user or of the disk ends it with exit status 1, SIGINT and SIGTERM with 130 and 143. Where
    work is unfinished, the message says what is kept and how to resume. A bug keeps its traceback.

    Args:
        quiet: show only warnings and the result.
    """
    from kneeformer.data.disk import in_words
    from kneeformer.errors import KneeformerError, WorkStopped

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(SaidOnce())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("kneeformer").setLevel(logging.WARNING if quiet else logging.INFO)
    Bars.quiet = quiet
    raise_interrupts()
    try:
        with _open_bars:  # closed first: a message begins on a line of its own
            command()
        sys.stdout.flush()
    except KneeformerError as fault:
        print(f"error: {fault}", file=sys.stderr)
        if isinstance(fault, WorkStopped):
            _print_resume(resume_command)
        sys.exit(1)
    except BrokenPipeError:  # as with `| head`: the reader is gone
        _forget_output()
        sys.exit(1)
    except OSError as fault:
        if fault.errno is None:
            raise  # raised by a library, not by the system
        print(f"error: {in_words(fault)}", file=sys.stderr)
        _forget_output()
        sys.exit(1)
    except Interrupted as stop:
        ignore_interrupts()
        print("\nstopped", file=sys.stderr)
        _print_resume(resume_command)
        sys.exit(128 + stop.number)


class SaidOnce(logging.Filter):
    """Passes each warning once: a scan that is predicted three times needs one line."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno < logging.WARNING or text not in self._said:
            self._said.add(text)
            return True
        return False


def resume_with(kept: str, *flags: str) -> ResumeCommand:
    """Resume by the same command with further flags."""
    return lambda typed: (kept, [*typed, *(flag for flag in flags if flag not in typed)])


def _print_resume(resume_command: ResumeCommand) -> None:
    kept, words = resume_command([Path(sys.argv[0]).name, *sys.argv[1:]])
    print(f"kept: {kept}\nto resume, type:\n    {shlex.join(words)}", file=sys.stderr)


def _forget_output() -> None:
    """Drop buffered output that can no longer be written, or Python would complain at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


class Bar:
    """A progress bar with the time left; where standard error is no terminal, one line when it closes.

    Args:
        form: format of the bar, as tqdm takes it.
    """

    def __init__(self, what: str, total: float, form: str, done: float = 0) -> None:
        from tqdm import tqdm

        self._what, self._started, self._text = what, time.monotonic(), ""
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=what,
            bar_format=form,
            file=sys.stderr,
            disable=Bars.quiet or not self._terminal,
        )

    def update(self, done: float, text: str, beside: str = "") -> None:
        """Move the bar, with `beside` next to it; without a terminal, `text` is printed at its end."""
        self._text = text
        self._bar.set_postfix_str(beside, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()
        if self._text and not (Bars.quiet or self._terminal):
            passed = self._bar.format_interval(time.monotonic() - self._started)
            print(f"{self._what}: {self._text}, {passed}", file=sys.stderr)


class Bars:
    """Progress bars, one per piece of work, driven by calls `watch(what, done, total)`.

    Work that is complete at its first call gets no bar.
    """

    quiet: ClassVar[bool] = False

    def __init__(self) -> None:
        _open_bars.callback(self.close)
        self._bar: Bar | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            if done >= total:
                return
            form = "{desc}: {n_fmt}/{total_fmt}|{bar}| {elapsed}<{remaining}"
            self._bar, self._what = Bar(what, total, form), what
        assert self._bar is not None
        self._bar.update(done, f"{done} of {total}")
        if done >= total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""


class TrainingBar:
    """One bar for a whole training, by its share of steps or minutes, with loss and latest scores."""

    _form = "{desc}: {percentage:5.1f}%|{bar}| {elapsed}<{remaining}{postfix}"

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def __call__(self, event: "ProgressEvent") -> None:
        if self._bar is None:
            self._bar = Bar("Training", 1.0, self._form, event.share)
        text = f"step {event.step}, loss {event.loss:.3f}"
        if event.scores:
            text += f", validation {sum(event.scores.values()) / len(event.scores):.3f}"
        self._bar.update(event.share, f"{event.share:.1%}, {text}", text)
        if event.share >= 1:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def end_with(failed: list[str], done: str) -> None:
    """List the cases that failed, if any, and end the process with status 1; the others are `done`."""
    if failed:
        print(f"error: {len(failed)} problems; the other cases are {done}:", file=sys.stderr)
        print("\n".join(f"  {line}" for line in failed), file=sys.stderr)
        sys.exit(1)
