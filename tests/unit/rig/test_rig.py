"""A rig around a program of the test's: status, output, and each way to lose it."""

import os

import pytest

from harness.errors import LostVM, UsageError
from harness.rig import rig

# Stands for QEMU and all that runs in it.
GUEST = """
import os, subprocess, sys
print("booting", file=sys.stderr)
done = subprocess.run(["sh", "run/command"], stdout=os.open(sys.argv[1], os.O_WRONLY))
open("run/status", "w").write(str(done.returncode))
"""
# The port for the command's output is in the options that virtme-ng gets.
VIRTME = """
import shlex, sys
option = next(word for word in sys.argv if word.startswith("file,id=rig.stdout,path="))
open(sys.argv[sys.argv.index("--save-initramfs") + 1], "w").close()
print(shlex.join([sys.executable, "guest.py", option.split(",")[2].removeprefix("path=")]))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The rig's folder; we are in the one above it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(rig.INSIDE, raising=False)
    return tmp_path / "run"


@pytest.fixture
def run(image, virtme, folder, monkeypatch, python):
    """Runs a command in a rig whose QEMU is a Python program."""
    monkeypatch.setattr("harness.rig.image.find", lambda: image)
    monkeypatch.setattr("harness.vm.builds.find", lambda _given: "qemu")
    monkeypatch.setattr(rig, "can_kvm_boot", lambda _qemu, _image: False)
    out = bytearray()

    def run(*command, qemu=None, **settings):
        if qemu is None:
            folder.with_name("guest.py").write_text(GUEST)
            virtme(program=VIRTME)
        else:
            virtme(*python(qemu))
        settings = {"deadline_s": 20.0, "on_stderr": bytearray().extend, **settings}
        status = rig.run(command, folder, on_stdout=out.extend, **settings)
        return status, bytes(out).decode()

    return run


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_status_of_the_command_is_passed_on(run, status):
    assert run("sh", "-c", f"exit {status}")[0] == status


def test_command_runs_here_and_its_words_stay_words(run, tmp_path):
    assert run("sh", "-c", 'pwd; echo "$1"', "sh", "a 'b' $HOME")[1] == f"{tmp_path}\na 'b' $HOME\n"


def test_console_is_kept_and_the_rest_is_not(run, folder):
    run("true")
    assert (folder / "console.log").read_text() == "booting\n"
    assert {path.name for path in folder.iterdir()} == {"console.log", "command", "status"}


def test_machine_that_ends_before_the_command_is_lost(run, folder):
    qemu = "import sys; sys.exit('Kernel panic' + chr(10) + 'not syncing')"
    with pytest.raises(
        LostVM, match=r"lost: its QEMU ended with status 1 .*console\.log; .* not syncing"
    ):
        run("true", qemu=qemu)
    assert "Kernel panic" in (folder / "console.log").read_text()


def test_status_of_an_earlier_run_is_not_this_ones(run, folder):
    assert run("true")[0] == 0
    with pytest.raises(LostVM, match="before the command had a status"):
        run("true", qemu="")


def test_machine_that_dies_of_a_signal_is_lost(run):
    with pytest.raises(LostVM, match="killed by signal 11"):
        run("true", qemu="import os; os.kill(os.getpid(), 11)")


def test_command_that_does_not_end_is_lost(run):
    with pytest.raises(LostVM, match=r"did not end within 0\.5 s"):
        run("true", qemu="import time; time.sleep(60)", deadline_s=0.5)


def test_no_rig_in_a_rig(run, monkeypatch):
    monkeypatch.setitem(os.environ, rig.INSIDE, "1")
    assert rig.is_inside()
    with pytest.raises(UsageError, match="this is the rig already"):
        run("true")


def test_folder_to_write_to_must_be_there(run, tmp_path):
    with pytest.raises(UsageError, match="nowhere: not a directory"):
        run("true", writable=[tmp_path / "nowhere"])


def test_command_must_be_there(run):
    with pytest.raises(UsageError, match="no command"):
        run()


LOST_TIMER = "rcu: Possible timer handling issue on cpu=1 timer-softirq=7"
BOOTS = """
import os, signal, sys
with open("boots", "a") as file:
    file.write("x")
if {began}:
    open("run/.began", "w").close()
print({said!r}, file=sys.stderr, flush=True)
if os.path.getsize("boots") >= {ends}:
    sys.exit(3)
if os.path.getsize("boots") < {good}:
    signal.pause()
open("run/status", "w").write("7")
"""


def boots(**how) -> str:
    """A program on one line, as virtme-ng prints it."""
    return f"exec({BOOTS.format(**how)!r})"


@pytest.mark.parametrize("good", [1, 2, 3])
def test_boot_without_a_timer_is_repeated(run, folder, good):
    status, _ = run("true", qemu=boots(began=False, said=LOST_TIMER, good=good, ends=99))
    assert status == 7
    made = folder.with_name("boots").stat().st_size
    assert made >= good
    console = (folder / "console.log").read_text()
    assert (f"this is boot {made}" in console) is (made > 1)


def test_boot_that_never_has_a_timer_is_lost(run, folder):
    qemu = boots(began=False, said=LOST_TIMER, good=99, ends=rig.BOOTS)
    with pytest.raises(LostVM, match="ended with status 3"):
        run("true", qemu=qemu)
    assert folder.with_name("boots").stat().st_size == rig.BOOTS


@pytest.mark.parametrize(("began", "said"), [(True, LOST_TIMER), (False, "rcu: all is well")])
def test_command_that_has_begun_is_not_run_again(run, folder, began, said):
    with pytest.raises(LostVM, match="ended with status 3"):
        run("true", qemu=boots(began=began, said=said, good=99, ends=1))
    assert folder.with_name("boots").stat().st_size == 1
