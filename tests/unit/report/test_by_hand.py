"""by-hand.sh: the run's command lines and commands, without what was the run's alone."""

import json
import shlex
import subprocess

import pytest

from harness.history.process import Launched
from harness.report import by_hand
from harness.scenario import Tls
from tests.unit.check.guests import guest_scenario
from tests.unit.check.histories import DST, SRC, Story, history, scenario
from tests.unit.check.interrupted import interrupting

FOLDER = "/srv/runs/two devices-0001"
SOCKET = {"transport": "socket", "type": "unix", "path": "sockets/destination"}
INET = {"transport": "socket", "type": "inet", "host": "127.0.0.1"}
FILE = {"transport": "file", "filename": f"{FOLDER}/migration.stream", "offset": 0}


def argv(side, *more):
    return [
        "/opt/qemu/qemu-system-x86_64", "-nodefaults", "-machine", "q35",
        "-bios", f"{FOLDER}/halt.bin",
        "-chardev", "socket,id=qmp,fd=9", "-mon", "chardev=qmp,mode=control",
        "-object", "iommufd,id=iommufd0,fd=6",
        "-device", "vfio-pci,id=vfio0,fd=7", "-device", "vfio-pci,id=vfio1,fd=8",
        "-trace", "vfio_*", "-D", f"{FOLDER}/{side}-trace/%d.log", *more,
    ]  # fmt: skip


MONITOR = ("-object", "monitor-qmp,id=monitor,chardev=qmp")
"""What QEMU 11.1 has instead of ``-mon``."""


def to(addr, **more):
    return {"channels": [{"channel-type": "main", "addr": addr}], **more}


class Script:
    """A run's story, and the script that is made of it."""

    def __init__(self):
        self.story = Story()
        for side, more in ((SRC, ()), (DST, ("-incoming", "defer"))):
            self.story.put(side, Launched(argv(side, *more), pid=1))

    def sends(self, side, command, **arguments):
        self.story.qmp(side, command, arguments=arguments)
        return self

    def ends(self, status="completed"):
        self.story.status(SRC, status)
        return self

    @property
    def text(self):
        return by_hand.render(history(scenario(name="two devices"), self.story.records))

    def array(self, name):
        """The words of the bash array ``name``, as bash has them."""
        start = self.text.index(f"\n{name}=(\n")
        body = self.text[start : self.text.index("\n)\n", start)]
        return shlex.split(body.replace(f"{name}=(", ""))

    @property
    def commands(self):
        """(side, waits, names of commands) of each call of qmp between start and end."""
        body = self.text[self.text.index("went_well=1\n") : self.text.index('if [ "$went_well"')]
        found = []
        for block in body.split("\nEND\n")[:-1]:
            call, *lines = block[block.index("\nqmp ") + 1 :].splitlines()
            names = [json.loads(line.replace("\\$", "$"))["execute"] for line in lines]
            found.append((call.split()[1], "ended" in call, names))
        return found


@pytest.fixture
def socket_run():
    """Sides are configured at the same time, then migrate."""
    script = Script()
    for command in ("query-migrate-capabilities", "migrate-set-capabilities"):
        for side in (SRC, DST):
            script.sends(side, command)
    return (
        script.sends(DST, "migrate-incoming", **to(SOCKET, **{"exit-on-error": False}))
        .sends(SRC, "migrate", **to(SOCKET))
        .ends()
        .sends(SRC, "query-migrate")
        .sends(SRC, "quit")
    )


def test_script_is_valid_bash(socket_run):
    checked = subprocess.run(
        ["bash", "-n"], input=socket_run.text, text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_monitor_of_11_1_is_a_socket_too():
    command_line = by_hand._array(["qemu", *MONITOR, "-device", "vfio-pci,fd=7"], SRC)
    assert "-qmp unix:sockets/source,server=on,wait=off" in command_line
    assert "monitor-qmp" not in command_line


def test_command_line_is_the_runs_but_for_what_was_its_own(socket_run):
    words = socket_run.array("destination")
    assert words[0] == "/opt/qemu/qemu-system-x86_64"
    assert words[-2:] == ["-incoming", "defer"]
    text = " ".join(words)
    assert "-machine q35" in text
    assert "fd=" not in text, "a descriptor of the harness"
    assert FOLDER not in text
    assert "-qmp unix:sockets/destination,server=on,wait=off" in text
    assert "-bios $here/halt.bin" in text
    assert "-D $work/destination-trace/%d.log" in text


def test_devices_have_one_place_for_all_of_them(socket_run):
    assert socket_run.array("source").count("${devices[@]}") == 1
    assert "devices=(@devices@)" in socket_run.text


def test_commands_keep_their_order_and_questions_are_left_out(socket_run):
    assert socket_run.commands == [
        ("destination", False, ["migrate-set-capabilities", "migrate-incoming"]),
        ("source", True, ["migrate-set-capabilities", "migrate"]),
    ]


def test_sides_meet_at_a_socket_of_the_scripts_own(socket_run):
    assert "sockets/destination" not in socket_run.text.replace("sockets/destination,", "")
    assert "abstract" not in socket_run.text, "every user can connect to such a one"
    assert socket_run.text.count('"type": "unix", "path": "sockets/migration"}') == 2


def test_run_of_a_harness_that_used_abstract_sockets_still_makes_a_script():
    """Saved runs have them."""
    old = {**SOCKET, "path": "vfio-multifd-7887", "abstract": True}
    script = Script().sends(DST, "migrate-incoming", **to(old)).sends(SRC, "migrate", **to(old))
    assert "7887" not in script.text
    assert "abstract" not in script.text


def test_sockets_are_in_a_folder_that_only_its_owner_enters(socket_run):
    text = socket_run.text
    assert text.index("\numask 077") < text.index("mkdir")
    begun = text[text.index("work=") : text.index("declare")]
    assert 'rm -rf -- "$work"' in begun, "an old folder may be open"
    assert '"$work/sockets"' in begun
    assert 'mkdir -- "$work/sockets" && cd -- "$work" || exit' in begun
    assert 'rm -rf -- "$work/tls" "$work/sockets"' in text[text.index("clean_up()") :]


def test_destination_listens_on_the_port_of_the_source():
    script = Script()
    script.sends(DST, "migrate-incoming", **to({**INET, "port": "0"}))
    script.sends(SRC, "migrate", **to({**INET, "port": "4711"})).ends()
    assert script.text.count('"port": "4711"') == 2
    assert '"port": "0"' not in script.text


def test_file_is_read_only_after_the_source_has_ended():
    script = Script().sends(DST, "migrate-set-capabilities").sends(SRC, "migrate", **to(FILE))
    script.ends().sends(DST, "migrate-incoming", **to(FILE))
    assert script.commands == [
        ("source", True, ["migrate"]),
        ("destination", False, ["migrate-set-capabilities", "migrate-incoming"]),
    ]
    assert script.text.count("$work/migration.stream") == 2


def test_command_sent_while_it_migrates_is_not_held_back_until_the_end():
    script = Script().sends(SRC, "migrate", **to(SOCKET)).sends(SRC, "migrate_cancel")
    script.ends("cancelled")
    assert script.commands == [("source", False, ["migrate", "migrate_cancel"])]


def test_run_that_never_migrated_has_its_commands_still():
    script = Script().sends(SRC, "migrate-set-parameters")
    assert script.commands == [("source", False, ["migrate-set-parameters"])]


def test_value_that_bash_would_expand_reaches_qemu_as_it_is():
    script = Script().sends(SRC, "migrate-set-parameters", tls="a$HOME`id`\\")
    block = script.text[script.text.index("<<END || went_well=0\n{") :].split("\nEND\n")[0]
    document = f"cat <<END\n{block.partition(chr(10))[2]}\nEND\n"
    said = subprocess.run(["bash", "-c", document], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["arguments"]["tls"] == "a$HOME`id`\\"


def test_run_without_any_process_makes_a_script_that_says_so_by_being_empty():
    text = by_hand.render(history(scenario(), []))
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_head_shows_how_to_use_a_real_device(socket_run):
    head = socket_run.text[: socket_run.text.index("set -u")]
    assert "-device vfio-pci,host=" in head
    assert "gdb --args" in head


def test_credentials_are_made_anew_and_removed():
    script = Script()
    creds = {"qom-type": "tls-creds-psk", "endpoint": "client", "id": "a"}
    script.sends(SRC, "object-add", **creds, dir=f"{FOLDER}/tls/source")
    records = script.sends(SRC, "migrate", **to(SOCKET)).ends().story.records
    text = by_hand.render(history(scenario(name="two devices", tls=Tls.PSK), records))
    made = text.index('vfio-multifd credentials --scenario "$here/scenario.json" "$work/tls"')
    assert made < text.index("serve destination")
    assert '"dir": "$work/tls/source"' in text
    assert 'rm -rf -- "$work/tls" "$work/sockets"\n' in text
    assert FOLDER not in text
    assert "vfio-multifd credentials" not in script.text


def test_what_only_the_harness_can_do_for_interrupts_is_left_out_and_said():
    argv = [
        "/opt/qemu/qemu-system-x86_64", "-chardev", "socket,id=qtest,fd=8",
        "-object", "qtest,id=qtest,chardev=qtest,log=none", "-device", "virtio-rng-pci",
    ]  # fmt: skip
    story = Story()
    for side in (SRC, DST):
        story.put(side, Launched(argv, pid=1))
    text = by_hand.render(history(scenario(interrupting()), story.records))
    assert "qtest" not in text
    assert "    -device virtio-rng-pci\n" in text
    assert "the harness also set MSI-X up" in text
    plain = by_hand.render(history(scenario(), story.records))
    assert "MSI-X" not in plain


@pytest.fixture
def guest_script():
    """The script of a run with a guest."""
    argv = [
        "/opt/qemu/qemu-system-x86_64", "-kernel", "/cache/vmlinuz", "-append", "quiet a=b",
        "-chardev", f"socket,id=console,fd=7,logfile={FOLDER}/source.console",
        "-serial", "chardev:console", "-chardev", "socket,id=qmp,fd=9",
    ]  # fmt: skip
    story = Story()
    for side in (SRC, DST):
        story.put(side, Launched(argv, pid=1))
    return by_hand.render(history(guest_scenario(), story.records))


def test_guest_boots_with_its_console_in_a_file(guest_script):
    assert "    -kernel /cache/vmlinuz\n    -append 'quiet a=b'\n" in guest_script
    for side in ("source", "destination"):
        assert f'    -serial "file:$work/{side}.console"\n' in guest_script
    assert "chardev" not in guest_script


def test_guest_is_waited_for_before_and_after_the_migration(guest_script):
    begins = guest_script.index("\nwent_well=1\n")
    assert 0 < guest_script.index("grep -qs 'guest: round 1:'") < begins
    assert guest_script.index("grep -c '^guest: round'") > begins
    check = subprocess.run(["bash", "-n"], input=guest_script, text=True, check=False)
    assert check.returncode == 0


def test_run_without_a_guest_waits_for_none(socket_run):
    assert "guest: round" not in socket_run.text
