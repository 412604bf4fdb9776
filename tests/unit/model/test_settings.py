"""Which settings the model knows, and which QEMU must refuse."""

import pytest

from harness.model import settings
from harness.model.expectation import Ending, expect
from harness.scenario import EmulatedDevice, Scenario, Tls, Transport
from harness.scenario.action_plan import Execute, Kill, Storm, Target, status
from harness.scenario.guest_plan import Guest
from tests.unit.model.test_expectation import FACTS

NEW = (10, 1, 0)
ACTIVE = status(Target.SOURCE, "active")
NO_MULTIFD = {"multifd": False}


def scenario(**fields) -> Scenario:
    return Scenario(name="x", **fields)


def unknown(**fields) -> list[str]:
    return list(settings.unknown(scenario(**fields)))


def refusals(oldest=NEW, **fields) -> list[str]:
    return list(settings.refusals(scenario(**fields), oldest))


def execute(command, *, target=Target.SOURCE, **arguments) -> Execute:
    return Execute(when=ACTIVE, target=target, command=command, arguments=arguments)


# -- unknown -----------------------------------------------------------------------------


def test_plain_scenario_has_nothing_unknown():
    assert unknown() == []
    assert refusals() == []


@pytest.mark.parametrize(
    "name",
    ["x-colo", "dirty-bitmaps", "postcopy-blocktime", "x-ignore-shared", "new"],
)
def test_capability_that_is_not_listed(name):
    assert unknown(capabilities={name: True}) == [f"capability {name}"]
    assert unknown(capabilities={name: False}) == [], "off is as if it were not given"


@pytest.mark.parametrize("name", sorted(settings.CAPABILITIES - {"pause-before-switchover"}))
def test_capability_that_is_listed(name):
    fields = {"multifd": False} if name == "zero-copy-send" else {}
    assert unknown(capabilities={name: True}, **fields) == []


@pytest.mark.parametrize(
    ("fields", "is_known"),
    [
        ({"transport": Transport.TCP}, True),
        ({"transport": Transport.TCP, "tls": Tls.PSK}, True),  # refused
        ({"transport": Transport.UNIX}, False),
        ({"transport": Transport.TCP, "guest": Guest(), "ram_mib": 256}, False),
    ],
)
def test_zero_copy_is_known_to_work_over_tcp(fields, is_known):
    found = unknown(capabilities={"zero-copy-send": True}, **fields)
    why = "capability zero-copy-send with these settings: it needs transport tcp, and no guest"
    assert found == ([] if is_known else [why])


def test_events_that_are_off():
    assert unknown(capabilities={"events": False}) == ["capability events off"]


def test_return_path_that_is_given_twice():
    assert unknown(capabilities={"return-path": False}) != []
    assert unknown(capabilities={"return-path": False}, return_path=False) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "cpr-exec"), ("direct-io", True), ("new", 1),
        ("multifd-compression", "qpl"), ("zero-page-detection", "none"), ("tls-creds", "mine"),
        ("xbzrle-cache-size", 4096), ("max-cpu-throttle", 99), ("cpu-throttle-tailslow", 1),
        ("max-bandwidth", -1), ("max-bandwidth", 1 << 64), ("max-bandwidth", "1G"),
        ("multifd-channels", 2), ("multifd-channels", 300),
    ],
)  # fmt: skip
def test_parameter_or_value_that_is_not_listed(name, value):
    (found,) = unknown(parameters={name: value})
    assert found.startswith(f"parameter {name}={value}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "normal"), ("mode", "cpr-reboot"), ("direct-io", False),
        ("multifd-compression", "zlib"),
        ("zero-page-detection", "legacy"), ("max-bandwidth", 0), ("downtime-limit", 0),
        ("multifd-channels", 4), ("announce-rounds", 0), ("cpu-throttle-tailslow", True),
    ],
)  # fmt: skip
def test_parameter_that_is_listed(name, value):
    assert unknown(parameters={name: value}) == []
    assert refusals(parameters={name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "is_known"),
    [
        ("x-migration-load-config-after-iter", "on", True),
        ("x-device-dirty-page-tracking", False, True),
        ("x-migration-max-queued-buffers-size", 1 << 20, True),
        ("x-migration-max-queued-buffers-size", "1048576", True),
        ("x-migration-max-queued-buffers-size", "1M", False),
        ("x-migration-max-queued-buffers-size", True, False),
        ("x-migration-multifd-transfer", "ON", False),
        ("enable-migration", "yes", False),
        ("migration-events", "off", False),
        ("x-no-mmap", True, False),
        ("new", 1, False),
    ],
)
def test_property(name, value, is_known):
    device = EmulatedDevice(id="vfio7", properties={name: value})
    expected = [] if is_known else [f"property {name}={value} of vfio7"]
    assert unknown(devices=(device,)) == expected


# -- commands ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["query-pci", "x-query-numa", "stop", "cont", "quit", "migrate_cancel", "system_reset"],
)
def test_command_whose_effect_is_known(command):
    assert unknown(actions=(execute(command),)) == []


@pytest.mark.parametrize(
    "command",
    ["device_del", "snapshot-load", "qom-set", "migrate-set-capabilities", "human-monitor-command",
     "migrate", "migrate-pause", "yank", "object-del", "device_add"],
)  # fmt: skip
def test_command_whose_effect_is_not_known(command):
    assert unknown(actions=(execute(command),)) == [f"command {command} to the source"]
    storm = Storm(when=ACTIVE, target=Target.SOURCE, commands=("query-pci", command))
    assert unknown(actions=(storm,)) == [f"command {command} in a storm"]


@pytest.mark.parametrize(
    ("parameters", "is_known"),
    [
        ({"downtime-limit": 5, "max-bandwidth": 1 << 50, "avail-switchover-bandwidth": 0}, True),
        ({"multifd-channels": 4}, False),
        ({"downtime-limit": 5, "multifd-channels": 4}, False),
        ({"downtime-limit": 1 << 40}, False),
        ({"mode": "normal"}, False),
    ],
)
@pytest.mark.parametrize("target", Target)
def test_parameters_of_speed_may_change_at_any_time(parameters, is_known, target):
    found = unknown(actions=(execute("migrate-set-parameters", target=target, **parameters),))
    assert bool(found) is not is_known
    if found:
        names = ", ".join(parameters)
        assert found == [f"command migrate-set-parameters of {names} to the {target}"]


def test_faults_other_actions_are_known():
    assert unknown(actions=(Kill(when=ACTIVE, target=Target.SOURCE),)) == []


@pytest.mark.parametrize(
    ("actions", "is_known"),
    [
        ((), False),
        ((execute("stop"),), False),
        ((execute("migrate_cancel", target=Target.DESTINATION),), False),
        ((execute("migrate-continue", state="pre-switchover"),), True),
        ((execute("migrate_cancel"),), True),
        ((Kill(when=ACTIVE, target=Target.DESTINATION),), True),
    ],
)
def test_pause_before_switchover_needs_an_action_that_goes_on(actions, is_known):
    found = unknown(capabilities={"pause-before-switchover": True}, actions=actions)
    assert bool(found) is not is_known


# -- refused -----------------------------------------------------------------------------


def on(*names, **fields):
    return {"capabilities": dict.fromkeys(names, True), **fields}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (on("xbzrle"), "Multifd is not compatible with xbzrle"),
        (on("mapped-ram", "xbzrle", **NO_MULTIFD), "Mapped-ram migration is incompatible with xb"),
        (on("mapped-ram", "postcopy-ram"), "Mapped-ram migration is incompatible with postcopy"),
        (on("postcopy-preempt"), "Postcopy preempt requires postcopy-ram"),
        (on("switchover-ack", return_path=False), "'switchover-ack' requires"),
        (on("dirty-limit"), "dirty-limit"),
        (on("zero-copy-send", **NO_MULTIFD), "Zero copy only available"),
        (on("zero-copy-send", tls=Tls.PSK), "Zero copy only available"),
        (on("zero-copy-send", parameters={"multifd-compression": "zlib"}), "Zero copy only"),
        ({"parameters": {"downtime-limit": 2_000_001}}, "downtime-limit"),
        ({"parameters": {"downtime-limit": -1}}, "downtime-limit"),
        ({"parameters": {"downtime-limit": True}}, "downtime-limit"),
        ({"parameters": {"announce-step": 0}}, "announce-step"),
        ({"parameters": {"multifd-zstd-level": 21}}, "multifd-zstd-level"),
    ],
)
def test_setting_that_must_be_refused(fields, words):
    assert unknown(**fields) == []
    (found,) = refusals(**fields)
    assert found.startswith(words)
    expected = expect(scenario(**fields), FACTS, FACTS)
    assert expected.ending is Ending.REFUSED_AT_SETUP
    assert found in expected.reasons


@pytest.mark.parametrize(
    "fields",
    [
        on("xbzrle", **NO_MULTIFD), on("switchover-ack"), on("auto-converge"),
        on("zero-copy-send"), on("mapped-ram"), on("background-snapshot"),
    ],
)  # fmt: skip
def test_setting_that_these_commands_accept(fields):
    assert refusals(**fields) == []


@pytest.mark.parametrize(("oldest", "count"), [((10, 0, 13), 1), ((10, 1, 0), 0), ((11, 1, 3), 0)])
def test_postcopy_with_multifd_is_accepted_from_10_1_on(oldest, count):
    assert len(refusals(oldest, **on("postcopy-ram"))) == count
    assert refusals(oldest, **on("postcopy-ram", **NO_MULTIFD)) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("postcopy-ram", "postcopy"), ("background-snapshot", "background snapshot")],
)
def test_vfio_refuses_what_the_commands_accept(name, words):
    assert list(settings.refusals_of_vfio(scenario(**on(name)))) == [words]
    assert list(settings.refusals_of_vfio(scenario())) == []


@pytest.mark.parametrize(
    "text",
    [
        "Background-snapshot is not compatible with multifd",
        "Background-snapshot is not supported by host kernel",
        "vfio0: VFIO migration is not supported with background snapshot",
    ],
)
def test_case_and_hyphens_of_words_are_ignored(text):
    assert settings.is_said("background snapshot", text)
    assert not settings.is_said("postcopy", text)
    assert settings.is_said("downtime-limit", "Parameter 'downtime_limit' expects an integer")


# -- what differs between the sides ------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("channels", settings.Differs.SETTING),
        ("memory_limit_mib", settings.Differs.FREELY),
        ("parameters.downtime-limit", settings.Differs.FREELY),
        ("parameters.multifd-zlib-level", settings.Differs.FREELY),
        ("parameters.announce-rounds", settings.Differs.FREELY),
        ("parameters.multifd-compression", settings.Differs.SETTING),
        ("parameters.zero-page-detection", settings.Differs.SETTING),
        ("parameters.mode", settings.Differs.UNKNOWN),
        ("parameters.direct-io", settings.Differs.UNKNOWN),
        ("capabilities.auto-converge", settings.Differs.FREELY),
        ("capabilities.switchover-ack", settings.Differs.SETTING),
        ("capabilities.mapped-ram", settings.Differs.UNKNOWN),
        ("capabilities.downtime-limit", settings.Differs.UNKNOWN),
        ("devices[0].properties.skip-vsc-check", settings.Differs.SETTING),
        ("devices[0].properties.x-no-mmap", settings.Differs.UNKNOWN),
        ("ram_mib", settings.Differs.SETTING),
        ("qemu_args", settings.Differs.UNKNOWN),
    ],
)
def test_what_a_difference_means(place, kind):
    assert settings.kind_of(place) is kind


def test_each_known_setting_that_differs_is_placed_once():
    for kinds in settings._OF_NAMES.values():
        names = [name for each in kinds.values() for name in each]
        assert len(names) == len(set(names))
    assert set(settings.RANGES) - {"multifd-channels"} <= {
        name for each in settings._OF_NAMES["parameters"].values() for name in each
    }
