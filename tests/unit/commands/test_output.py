"""One line, whatever it holds; and streams that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.commands import output

ROOT = Path(__file__).resolve().parents[3]
BODY = """
import sys
from harness import interrupt
from harness.commands import output
interrupt.install()
output.take_over()
{}
sys.stdout.flush()
refused = output.failure()
sys.stderr.write(refused.strerror if refused else "all went well")
"""
SAYS = "for _ in range(100): output.say('x' * 1000)"


def run(body: str, redirection: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, "-c", BODY.format(body)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_stream_that_can_be_written_is_written():
    done = run("output.say('so'); sys.stdout.buffer.write(b'bytes')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "so\nbytes", "all went well")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_output_that_is_refused_is_swallowed_and_its_reason_kept(redirection, reason):
    done = run(SAYS, redirection)
    assert (done.returncode, done.stderr) == (0, reason)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_complaint_that_cannot_be_written_is_lost_without_a_word(redirection):
    done = run("output.complain('x'); output.say('so')", redirection)
    assert (done.returncode, done.stdout, done.stderr) == (0, "so\n", "")


def test_closed_streams_are_not_given_to_the_next_file_that_is_opened():
    body = "fd = open('/dev/zero').fileno(); sys.exit(0 if fd > 2 else 7)"
    assert run(body, "<&- >&- 2>&-").returncode == 0


def test_input_that_is_closed_is_empty():
    assert run("output.say(repr(sys.stdin.read()))", "<&-").stdout == "''\n"


def test_reader_that_went_away_ends_the_program():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", BODY.format(SAYS)],
            cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert "KeyboardInterrupt" in done.stderr, "what cli.main() takes"


def test_complaint_is_one_line_of_standard_error(capsys):
    output.complain("two\nlines,   one blank")
    assert capsys.readouterr().err == "vfio-multifd: error: two lines, one blank\n"


def test_said_is_a_line_of_standard_output(capsys):
    output.say("so")
    assert capsys.readouterr().out == "so\n"
