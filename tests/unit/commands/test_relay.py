"""``relay``: addresses as text, and what is seen as lines of JSON."""

import io
import json
import os
import signal
import stat
import threading

import pytest

from harness import cli
from harness.commands import relay
from harness.errors import UsageError
from harness.proxy.address import TcpAddress, UnixAddress
from harness.scenario import Scenario, to_json
from harness.scenario.fault_plan import Drop, Select
from tests.unit.called import one_line
from tests.unit.proxy.streams import hello, new_address

DEADLINE_S = 10.0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/some name", UnixAddress("/run/some name")),
        ("unix:a/b", UnixAddress("a/b")),
        ("tcp:127.0.0.1:4444", TcpAddress("127.0.0.1", 4444)),
        ("tcp:rig-1:0", TcpAddress("rig-1", 0)),
    ],
)
def test_address_is_read_and_written(text, address):
    assert relay.address(text) == address
    assert relay.text_of(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp:4444",
        "tcp::4444",
        "tcp:a:b",
        "tcp:a:65536",
        f"tcp:a:{'1' * 5000}",
        "unix:",
        "unix",
        "x:y",
    ],
)
def test_what_is_no_address_is_refused_with_those_that_are(text):
    with pytest.raises(UsageError, match="not an address: give unix:PATH, or tcp:HOST:PORT"):
        relay.address(text)


def test_abstract_socket_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="every user can connect to an abstract socket"):
        relay.address("unix:@name")


class Lines(io.StringIO):
    """Interrupts the relay once the line ``name`` was written."""

    def __init__(self, until, act):
        super().__init__()
        self.until = until
        self.act = act

    def write(self, text):
        written = super().write(text)
        name = json.loads(text)["name"]
        if name == "listening":
            threading.Thread(target=self.act, args=(json.loads(text)["at"],)).start()
        if name == self.until:
            os.kill(os.getpid(), signal.SIGINT)
        return written

    def told(self, name):
        lines = map(json.loads, self.getvalue().splitlines())
        return [line for line in lines if line["name"] == name]


def relayed(first: bytes, *faults) -> Lines:
    """What is told of a connection that begins with ``first``."""
    onward = new_address()
    with onward.listen():
        sources = []

        def connect(at):
            target = relay.address(at)
            sources.append(target.make_socket())
            assert target.connect(sources[0]) == 0
            sources[0].sendall(first)

        out = Lines("channel_opened", connect)
        listen = new_address()
        status = relay.serve(listen, onward, faults, 1, {"net0": "0000:00:02.0/vfio"}, out)
        for source in sources:
            source.close()
    assert status == 0
    return out


DROP = Drop(select=Select(device="net0"))


def test_what_passes_is_told_until_it_is_interrupted():
    out = relayed(hello(2), DROP)
    (opened,) = out.told("channel_opened")
    assert (opened["channel"], opened["kind"]) == (2, "multifd")
    assert "warning" not in opened
    assert out.told("faults")[0]["fired"] == [0]


@pytest.mark.parametrize("faults", [(), (DROP,)])
def test_faults_that_can_do_nothing_under_tls_are_warned_of(faults):
    (opened,) = relayed(b"\x16\x03\x01\x02", *faults).told("channel_opened")
    assert opened["kind"] == "tls"
    assert ("TLS cannot be read" in opened.get("warning", "")) is bool(faults)


def test_socket_is_private_while_it_listens_and_gone_afterwards(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    modes = []

    def look(at):
        assert at == "unix:relay"
        modes.append(stat.S_IMODE((tmp_path / "relay").stat().st_mode))
        os.kill(os.getpid(), signal.SIGINT)

    relay.serve(UnixAddress("relay"), new_address(), (), 0, {}, Lines("", look))
    assert modes == [0o600]
    assert not (tmp_path / "relay").exists()


def test_address_that_is_taken_is_told():
    taken = new_address()
    why = f"{taken.path}: cannot listen: Address already in use"
    with taken.listen(), pytest.raises(UsageError, match=why):
        relay.serve(taken, new_address(), (), 0, {}, io.StringIO())


@pytest.mark.parametrize("text", ["unix:a", "tcp:127.0.0.1:4444"])
def test_relay_that_would_connect_to_itself_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = relay.address(text)
    with pytest.raises(UsageError, match=f"{text}: the relay would connect to itself"):
        relay.serve(there, there, (), 0, {}, io.StringIO())
    assert not list(tmp_path.iterdir())


def test_fault_about_a_device_that_is_not_known_is_refused():
    listen = new_address()
    with pytest.raises(UsageError, match="no device x"):
        relay.serve(listen, listen, (Drop(select=Select(device="x")),), 0, {}, io.StringIO())


@pytest.mark.parametrize("argv", [
    ("--listen", "tcp:x", "--to", "tcp:h:1"),
    ("--listen", "unix:a", "--to", "unix:"),
])  # fmt: skip
def test_wrong_address_of_a_relay_is_one_line(call, argv):
    status, _, err = call("relay", *argv)
    assert status == 4
    assert "give unix:PATH, or tcp:HOST:PORT" in one_line(err)


@pytest.mark.parametrize("command", ["relay", "run"])
def test_help_says_who_else_can_connect_to_a_port(command, capsys):
    assert cli.main([command, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "on loopback" in words
    assert "every user of the machine" in words


@pytest.mark.parametrize(
    ("argv", "scenario", "seed"), [((), None, 0), ((), 7, 7), (("--seed", 0), 7, 0)]
)
def test_seed_of_the_command_line_goes_before_the_scenarios(
    call, monkeypatch, tmp_path, argv, scenario, seed
):
    seen = []

    def serve(*args):
        seen.append(args[3])
        return 0

    monkeypatch.setattr(relay, "serve", serve)
    if scenario is not None:
        (tmp_path / "a.json").write_bytes(to_json(Scenario(name="x", seed=scenario)))
        argv = (*argv, "--scenario", tmp_path / "a.json")
    assert call("relay", "--listen", "unix:a", "--to", "unix:b", *argv)[0] == 0
    assert seen == [seed]
