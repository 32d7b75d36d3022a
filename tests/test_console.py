"""How a command ends: its message, its exit status, and what goes on."""

import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kneeformer
from kneeformer.cli.console import SaidOnce
from kneeformer.cli.options import command_parser

HEAD = """
import errno, os, signal, sys
from pathlib import Path
from kneeformer.cli.console import resume_with, run
from kneeformer.data.files import write_text
def command():
    {}
run(command, resume_with("finished cases", "--continue_prediction"))
"""


def ends(body: str, *words: str, stdout: str | None = None) -> tuple[int, str]:
    """Exit status and standard error of a command that does `body`, called with `words`."""
    with Path(stdout or os.devnull).open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", HEAD.format(body.replace("\n", "\n    ")), *words],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


GO_ON = "kept: finished cases\nto resume, type:\n    -c -i 'my knees' --continue_prediction\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_says_what_is_kept_and_the_line_that_goes_on(number: signal.Signals) -> None:
    body = f"try:\n    signal.raise_signal({number:d})\nfinally:\n    signal.raise_signal({number:d})"
    assert ends(body, "-i", "my knees") == (128 + number, f"\nstopped\n{GO_ON}")


def test_a_warning_is_printed_once_and_other_lines_each_time() -> None:
    once = SaidOnce()
    for level, passed in ((logging.WARNING, [True, False]), (logging.INFO, [True, True])):
        record = logging.LogRecord("kneeformer", level, "", 0, "level %d", (level,), None)
        assert [once.filter(record), once.filter(record)] == passed


def test_a_flag_that_goes_on_is_not_given_twice() -> None:
    _, said = ends("signal.raise_signal(2)", "-i", "my knees", "--continue_prediction")
    assert said == f"\nstopped\n{GO_ON}"


def test_a_disk_that_is_full_in_the_middle_of_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    code, said = ends(f"write_text(Path({str(tmp_path)!r}) / 'a.json', 'x')", "-i", "my knees")
    assert code == 1
    assert said == (
        f"error: {tmp_path}/a.json: a folder, where a file belongs; give another path, or move the folder "
        f"away\n{GO_ON}"
    )


def test_a_message_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    bar = "from kneeformer.cli.console import Bars\nBars()('Predicting', 1, 3)\n"
    _, said = ends(f"{bar}write_text(Path({str(tmp_path)!r}), 'x')")
    bar, error, *_ = said.splitlines()
    assert bar == "Predicting: 1 of 3, 00:00" and error.startswith(f"error: {tmp_path}: ")


BARS = "from kneeformer.cli.console import Bars\nwatch = Bars()\n"


def test_a_bar_is_one_line_where_there_is_no_terminal_and_none_for_what_is_done_already() -> None:
    work = "for done in range(1, 4):\n    watch('Checking', done, 3)\n"
    assert ends(f"{BARS}watch('Reading', 1, 1)\n{work}watch('Reading', 1, 1)") == (
        0,
        "Checking: 3 of 3, 00:00\n",
    )


def test_a_shell_completes_flags_and_choices(tmp_path: Path) -> None:
    """As argcomplete's shell function asks: the line in the environment, the answer in a file."""
    answers = {}
    for line in ("kf_predict --save_p", "kf_predict --save_mesh p"):
        asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "_ARGCOMPLETE_IFS": "\n"}
        asked |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
        asked["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "answer")
        command = "from kneeformer.cli.predict import main; main()"
        subprocess.run([sys.executable, "-c", command], env=os.environ | asked, check=True)
        answers[line] = (tmp_path / "answer").read_text().strip()
    assert list(answers.values()) == ["--save_probabilities", "ply"]


def test_a_quiet_command_shows_no_bars_and_warnings_alone() -> None:
    body = "import logging\nBars.quiet = True\nwatch('Checking', 1, 2)\n"
    assert ends(f"{BARS}{body}") == (0, "")
    quiet = HEAD.replace('"--continue_prediction")', '"--continue_prediction"), quiet=True')
    said = "from logging import getLogger\n    log = getLogger('kneeformer'); log.info('a'); log.warning('b')"
    done = subprocess.run([sys.executable, "-c", quiet.format(said)], capture_output=True, check=True)
    assert done.stderr == b"b\n"


def test_a_file_that_cannot_be_read() -> None:
    code, said = ends("open('/')")
    assert (code, said) == (
        1,
        "error: /: a folder, where a file belongs; give another path, or move the folder away\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_results_that_nobody_can_write_down() -> None:
    code, said = ends("print('Dice 0.9')", stdout="/dev/full")
    assert (code, said) == (
        1,
        "error: the disk is full; free some space, or choose a folder on another disk\n",
    )


def test_nobody_reads_on() -> None:
    script = HEAD.format("for i in range(100_000): print(i)")
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} | head -n 1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n" and done.stderr == ""


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_parser("kf_predict", None).parse_args(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"kf_predict {kneeformer.__version__}\n"
