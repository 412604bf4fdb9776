"""``serve``: any program under the supervisor, with a scenario's devices."""

import io
import os
import subprocess
import sys

import pytest

from harness.commands import serve as command
from harness.errors import PrerequisiteMissing, UsageError
from harness.history import Record, Side
from harness.history.device import Arc, Sent
from harness.scenario import EmulatedDevice, Scenario
from tests.unit.called import one_line

SCENARIO = Scenario(name="x", devices=(EmulatedDevice(id="vfio0", size=4096),))
RESET = 0x3B << 8 | 111  # VFIO_DEVICE_RESET


def serve(*argv: str, side: Side = Side.SOURCE) -> tuple[int, str]:
    out = io.StringIO()
    return command.serve(SCENARIO, side, argv, out), out.getvalue()


def test_devices_take_the_place_of_their_mark(capfd):
    status, told = serve("echo", "before", command.DEVICES, "after")
    words = capfd.readouterr().out.split()
    assert status == 0
    assert (words[0], words[-1]) == ("before", "after")
    assert [word.partition(",")[0] for word in words[1:-1]] == [
        "-object", "iommufd", "-device", "vfio-pci",
    ]  # fmt: skip
    assert told == "source vfio0: states: RUNNING\n"


def test_program_gets_the_answers_of_the_device():
    program = (
        "import fcntl, re, sys; "
        "fd = int(re.search(r'vfio-pci.*?,fd=(\\d+)', ' '.join(sys.argv))[1]); "
        f"fcntl.ioctl(fd, {RESET})"
    )
    assert serve(sys.executable, "-c", program, command.DEVICES)[0] == 0


def test_exit_status_is_the_programs():
    assert serve("sh", "-c", "exit 7", command.DEVICES)[0] == 7


def test_monitor_and_what_else_it_makes_are_the_users_alone(tmp_path):
    """To connect to a socket one must be allowed to write to it (unix(7))."""
    program = (
        "import os, socket, sys; os.chdir(sys.argv[1]); open('trace', 'w'); "
        "socket.socket(socket.AF_UNIX).bind('monitor')"
    )
    before = os.umask(0)
    try:
        assert serve(sys.executable, "-c", program, str(tmp_path), command.DEVICES)[0] == 0
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"trace": 0o600, "monitor": 0o700}


def test_signal_that_ended_it_is_told_as_a_shell_does():
    assert serve("sh", "-c", "kill -9 $$", command.DEVICES)[0] == 128 + 9


SERVE = """
import io, sys
from harness import interrupt
from harness.commands import serve
from harness.history import Record, Side
from harness.history.device import Arc, Sent
from harness.scenario import EmulatedDevice, Scenario
interrupt.install()
scenario = Scenario(name="x", devices=(EmulatedDevice(id="vfio0", size=4096),))
out = io.StringIO()
status = serve.serve(scenario, Side.SOURCE, sys.argv[1:], out)
print(out.getvalue(), end="")
sys.exit(status)
"""


@pytest.mark.parametrize(("trap", "number"), [("", 15), ("trap '' TERM;", 9)])
def test_sigterm_ends_the_program_even_one_that_hangs(trap, number):
    # Each of the two has a pipe of its own: in one, their lines may come mixed.
    script = f"{trap} echo up >&2; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, "sh", "-c", script, command.DEVICES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        try:
            assert serving.stderr.readline() == "up\n"
            serving.terminate()
            told, _ = serving.communicate(timeout=60)
        finally:
            serving.kill()  # its program dies with it
    assert serving.returncode == 128 + number
    assert told == "source vfio0: states: RUNNING\n"


def test_command_line_without_a_place_for_devices_is_refused():
    with pytest.raises(UsageError, match="@devices@"):
        serve("true")


def test_program_that_is_not_there_is_named():
    with pytest.raises(PrerequisiteMissing, match="/no/such/qemu"):
        serve("/no/such/qemu", command.DEVICES)


def test_side_that_is_none_is_refused_with_those_that_are(call, tmp_path):
    status, _, err = call("serve", "--scenario", tmp_path, "--side", "up", "--", "x")
    assert status == 4
    line = one_line(err).replace("'", "")  # Python 3.12 and newer quote nothing
    assert "(choose from source, destination)" in line


def test_report_has_the_states_and_what_was_sent():
    records = [
        Record.of(1, Side.SOURCE, Arc(state="PRE_COPY", path=["PRE_COPY"], errno=0), "a"),
        Record.of(2, Side.SOURCE, Arc(state="STOP_COPY", path=["STOP"], errno=5), "a"),
        Record.of(3, Side.SOURCE, Sent(bytes=3, digest="ab"), "a"),
        Record.of(4, Side.SOURCE, Sent(bytes=9, digest="cd"), "b"),
    ]
    assert command._story("a", Side.SOURCE, records) == [
        "source a: states: RUNNING -> PRE_COPY -> STOP_COPY (errno 5)",
        "source a: sent 3 bytes, digest ab",
    ]
