"""The QMP commands of a migration, and its end as the events tell it."""

from typing import Any

import pytest

from harness.errors import QmpError
from harness.history import Kind, Record, Side
from harness.scenario import Scenario, Transport
from harness.vm import migration
from harness.vm.credentials import Setup
from harness.vm.sockets import DESTINATION


class Monitor:
    """Takes every command."""

    def __init__(self, answers=None):
        self.commands = []
        self._answers = answers or {}

    async def execute(self, command, arguments=None, timeout_s=0.0):
        self.commands.append((command, arguments))
        return self._answers.get(command, {})


@pytest.fixture
def configure():
    """Capabilities and parameters that a scenario gives."""

    async def do(**settings):
        monitor: Any = Monitor()
        await migration.configure(monitor, Scenario(name="x", **settings))
        (first, capabilities), (second, parameters) = monitor.commands
        assert (first, second) == ("migrate-set-capabilities", "migrate-set-parameters")
        listed = capabilities["capabilities"]
        states = {one["capability"]: one["state"] for one in listed}
        assert len(states) == len(listed), "each is named once"
        return states, parameters

    return do


def events(*statuses):
    return [
        Record(n, Side.SOURCE, Kind.QMP, name, {"status": status} if name == "MIGRATION" else {})
        for n, (name, status) in enumerate(
            (word, "") if word.isupper() else ("MIGRATION", word) for word in statuses
        )
    ]


async def test_multifd_migration_is_configured(configure):
    capabilities, parameters = await configure(channels=7)
    assert capabilities == {"events": True, "return-path": True, "multifd": True}
    assert parameters == {
        "downtime-limit": 2_000_000,
        "max-bandwidth": 1 << 50,
        "avail-switchover-bandwidth": 1 << 50,
        "multifd-channels": 7,
    }


async def test_migration_without_multifd_names_no_channels(configure):
    capabilities, parameters = await configure(multifd=False, return_path=False)
    assert capabilities == {"events": True, "return-path": False, "multifd": False}
    assert "multifd-channels" not in parameters


async def test_scenario_has_the_last_word(configure):
    capabilities, parameters = await configure(
        capabilities={"xbzrle": True, "multifd": False},
        parameters={"downtime-limit": 5, "multifd-compression": "zlib"},
    )
    assert capabilities["xbzrle"] is True
    assert capabilities["multifd"] is False
    assert parameters["downtime-limit"] == 5
    assert parameters["multifd-compression"] == "zlib"


async def test_multifd_by_capability_has_its_channels(configure):
    """The setting of the scenario counts, however it was given."""
    _, parameters = await configure(multifd=False, capabilities={"multifd": True}, channels=7)
    assert parameters["multifd-channels"] == 7
    _, parameters = await configure(capabilities={"multifd": False})
    assert "multifd-channels" not in parameters


@pytest.mark.parametrize(
    ("desc", "is_lacking"),
    [
        ("Parameter 'capability' does not accept value 'zero-blocks'", True),
        ("Parameter 'multifd-compression' does not accept value 'zstd'", True),
        ("Parameter 'cpr-exec-command' is unexpected", True),
        ("No build-time support for direct-io", True),
        ("TLS credentials support requires GNUTLS", True),
        ("QEMU compiled without replication module can't enable COLO", True),
        ("Multifd is not compatible with xbzrle", False),
        ("Parameter 'downtime_limit' expects an integer in the range of 0 to 2000000 ms", False),
        ("Postcopy is not yet compatible with multifd", False),
    ],
)
def test_what_a_build_lacks_is_told_from_what_qemu_refuses(desc, is_lacking):
    error = QmpError("migrate-set-parameters", "GenericError", desc)
    assert migration.lacks(error) is is_lacking


async def test_what_an_earlier_migration_has_set_is_reset():
    """By its scenario or by its actions; what this one sets has the last word."""
    answers: dict[str, Any] = {
        "query-migrate-capabilities": [
            {"capability": "xbzrle", "state": True},
            {"capability": "events", "state": True},
            {"capability": "mapped-ram", "state": False},
        ],
        "query-migrate-parameters": {"multifd-compression": "zlib", "mode": "normal", "new": 1},
    }
    monitor: Any = Monitor(answers)
    defaults = {"multifd-compression": "none", "mode": "normal", "downtime-limit": 300}
    scenario = Scenario(name="x", parameters={"downtime-limit": 5})
    await migration.configure(monitor, scenario, defaults=defaults)
    *_, (_, capabilities), (_, parameters) = monitor.commands
    states = {one["capability"]: one["state"] for one in capabilities["capabilities"]}
    assert states == {"xbzrle": False, "events": True, "return-path": True, "multifd": True}
    assert parameters["multifd-compression"] == "none"
    assert parameters["downtime-limit"] == 5
    assert "mode" not in parameters


async def test_downtime_limit_is_one_that_qemu_accepts(configure):
    """At most 2000 seconds (migration/options.c)."""
    _, parameters = await configure()
    assert parameters["downtime-limit"] <= 2_000_000


def test_unix_address_is_in_the_folder_that_nobody_else_enters():
    """An abstract name would be open to every user of the machine."""
    address = migration.address(Scenario(name="x", transport=Transport.UNIX))
    assert address == {"transport": "socket", "type": "unix", "path": DESTINATION}


def test_tcp_address_leaves_the_port_to_the_kernel():
    scenario = Scenario(name="x", transport=Transport.TCP)
    address = migration.address(scenario)
    assert address == {"transport": "socket", "type": "inet", "host": "127.0.0.1", "port": "0"}


def test_channels_are_the_main_channel_only():
    """QEMU makes the multifd channels from it."""
    assert migration.channels({"transport": "exec"}) == {
        "channels": [{"channel-type": "main", "addr": {"transport": "exec"}}]
    }


def test_statuses_are_those_of_migration_events():
    assert migration.statuses(events("setup", "STOP", "active", "RESUME")) == ["setup", "active"]


@pytest.mark.parametrize(
    ("seen", "source", "destination"),
    [
        ((), None, None),
        (("setup", "active", "device"), None, None),
        (("setup", "active", "completed"), "completed", "completed"),
        (("setup", "active", "RESUME"), None, "completed"),
        (("setup", "active", "failed", "RESUME"), "failed", "failed"),
        (("setup", "active", "completed", "RESUME"), "completed", "completed"),
        (("setup", "failed"), "failed", "failed"),
        (("setup", "cancelling"), None, None),
        (("setup", "cancelling", "cancelled"), "cancelled", "cancelled"),
        (("setup", "STOP"), None, None),
    ],
)
def test_end_is_seen_in_the_events(seen, source, destination):
    """A destination may say that it runs before it says that it has completed, or not run."""
    assert migration.source_end(events(*seen)) == source
    assert migration.destination_end(events(*seen)) == destination


async def test_credentials_are_made_before_a_parameter_names_them():
    monitor: Any = Monitor()
    objects = ({"qom-type": "tls-creds-psk", "id": "a"}, {"qom-type": "authz-simple", "id": "b"})
    tls = Setup(objects, {"tls-creds": "a", "tls-authz": "b"})
    await migration.configure(monitor, Scenario(name="x"), tls)
    assert [name for name, _ in monitor.commands[1:]] == [
        "object-add", "object-add", "migrate-set-parameters",
    ]  # fmt: skip
    assert tuple(arguments for _, arguments in monitor.commands[1:3]) == objects
    assert tls.parameters.items() <= monitor.commands[-1][1].items()


@pytest.mark.parametrize(
    ("source", "destination", "listens"),
    [
        (("setup", "failed"), ("setup",), True),
        (("setup", "failing"), ("setup",), False),
        (("setup", "completed"), ("setup",), False),
        (("setup", "failed"), ("setup", "active"), False),
        (("setup", "failed"), ("setup", "failed"), False),
        (("setup", "failed"), (), False),
    ],
)
def test_destination_listens_on_while_it_has_seen_no_source(source, destination, listens):
    assert migration.listens_on(events(*source), events(*destination)) is listens
