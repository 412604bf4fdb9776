"""REF-1 to REF-12, LIF-1, LIF-2, LIF-9: what is wrong is refused, what is missing is waited for.

When a bad packet is read matters.  EARLY keeps the main channel's end back meanwhile, and a
slow source still sends when the destination refuses; else the destination's main thread
waits for its load threads by then, which today's QEMU does not end.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from harness.check.verdict import Outcome
from harness.history import Event
from harness.history.device import Write
from harness.history.session import Faults
from harness.history.wire import Fault, HelloOut, MainEnd, PacketOut
from harness.job.run import Run
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
    Transport,
)
from harness.scenario import fault_plan as f
from harness.scenario.fault_plan import Fields, Select, Until, Which
from harness.session.link import idstr_of
from tests.records import events, held, of

BUFFERS = 4
CONFIG_IDX = BUFFERS
CONFIG = Select(config=True)
EARLY = f.StallMain(since="ram_passed", until=Until(told="channel_ended", delay_s=10.0))
"""From behind the final RAM synchronisation, for which the channels wait, on."""
MAYBE_EARLY = f.StallMain(since="ram_passed", until=Until(told="channel_ended", delay_s=0.5))
"""Of what QEMU may also accept."""
HOLD_0 = f.Hold(select=Select(idx=(0,)), until=Until(others=True))
HOLD_0_LATE = f.Hold(select=Select(idx=(0,)), until=Until(delay_s=0.4))
"""All else is queued before anything is loaded."""
WAITS = "the main thread waits for the load threads"
ALL_SENT = "the source has sent everything"
LIMIT = "x-migration-max-queued-buffers-size"
LOADED = "vfio_load_state_device_buffer_load_end"
REFUSED = "multifd_recv_terminate_threads"


def _device(number: int = 0, **fields: Any) -> EmulatedDevice:
    """The final RAM synchronisation is over before its first packet comes, also where TCP
    waits for an acknowledgement (40 ms).
    """
    defaults = {
        "size": BUFFERS * MIB,
        "seed": number + 1,
        "data_path": DataPath.SUPERVISED,
        "save": SaveBehaviour(read_delay_s=0.05),
    }
    return EmulatedDevice(id=f"vfio{number}", **{**defaults, **fields})


HANGS: Any = {"deadline_s": 10.0, "standstill_s": 0.5}
"""Of a scenario in which QEMU is known to hang: it need not be waited for longer."""


def _scenario(*faults: f.Fault, **fields: Any) -> Scenario:
    defaults = {"name": "refusal", "devices": (_device(),), "deadline_s": 5.0}
    return Scenario(faults=faults, **{**defaults, **fields})


def _at(*idx: int, **select: Any) -> Select:
    return Select(idx=idx, **select)


def _rewrite(number: int, /, **fields: Any) -> f.Rewrite:
    return f.Rewrite(select=_at(number), fields=Fields(**fields))


def _traced(run: Run, name: str, **args: Any) -> list[Event]:
    return [
        record
        for record in events(run)
        if record.name == name and all(record.args.get(key) == value for key, value in args.items())
    ]


def _assert_fired(run: Run, fault: f.Fault, idx: int | None) -> None:
    """``fault`` changed the packet ``idx``, and nothing else."""
    position = run.history.scenario.faults.index(fault)
    (done,) = [done for done in held(run, Fault) if done.position == position]
    assert done.idx == idx


def _assert_valid(run: Run, *requirements: str, but_for: tuple[str, ...] = ()) -> None:
    """Each of ``requirements`` is VALID, and only ``but_for`` is violated."""
    words = [f"{x.requirement} {x.outcome}: {x.sentence}" for x in run.verdict.findings]
    for requirement in requirements:
        finding = run.verdict.finding(requirement)
        assert finding is not None, (requirement, run.verdict.not_applicable.get(requirement))
        assert finding.outcome is Outcome.VALID, (run.rundir, words)
    assert set(run.verdict.with_outcome(Outcome.VIOLATED)) <= set(but_for), (run.rundir, words)


def _refused(run: Run, kept: Any, *requirements: str) -> None:
    """Refused as it must be; LIF-9 is as known where the source had nothing left to send."""
    _assert_valid(run, "RUN", *requirements, but_for=("LIF-9",))
    if "LIF-9" in run.verdict.with_outcome(Outcome.VIOLATED):
        kept(run, "LIF-9", case=ALL_SENT)
    kept(run, "RUN", *requirements, "LIF-9")


async def _early(judged: Any, *faults: f.Fault, **settings: Any) -> Run:
    """A run in which a channel refuses something while the main channel is stalled."""
    run: Run = await judged(_scenario(EARLY, *faults, **{"deadline_s": 30.0, **settings}))
    refused = [record for record in _traced(run, REFUSED) if record.args["error"]]
    assert refused, run.rundir
    assert all(refused[0].t_ns < end.t_ns for end in of(run, MainEnd)), run.rundir
    return run


class Case(NamedTuple):
    """A bad packet: the requirement, the fault, and the index in the fault's record."""

    requirement: str
    fault: f.Fault
    idx: int | None
    names_device: bool = True
    others: f.FaultPlan = ()
    settings: Mapping[str, Any] = MappingProxyType({})


TWO = {"devices": (_device(0), _device(1))}
ONE_OFF = {"devices": (_device(0), _device(1, multifd_transfer=OnOffAuto.OFF, size=MIB))}
ONE_CHANNEL = {"channels": 1}
OTHER = idstr_of(1)

BAD = {
    "duplicate while queued": Case("REF-1", f.Duplicate(select=_at(2)), 2, others=(HOLD_0,)),
    "duplicate while queued, other channel": Case(
        "REF-1", f.Duplicate(select=_at(1, channel=0), channel=3), 1,
        others=(HOLD_0,), settings={"prelude": f.MoveToChannel(channel=0)},
    ),
    "duplicate of a loaded one": Case(
        "REF-1", f.Duplicate(select=_at(1), until=Until(loaded=True)), 1
    ),
    "foreign idstr, index taken there": Case(
        "REF-1", f.Rewrite(select=_at(1, device="vfio0"), fields=Fields(idstr=OTHER)), 1,
        settings=TWO,
    ),
    "device without multifd transfer": Case(
        "REF-2", _rewrite(1, idstr=OTHER), 1, settings=ONE_OFF
    ),
    "payload of 11 bytes": Case("REF-3", f.Truncate(select=_at(1), size=11), 1),
    "payload of 1 byte": Case("REF-3", f.Truncate(select=_at(1), size=1), 1),
    "version 1": Case("REF-4", _rewrite(1, state_version=1), 1),
    "version 0xffffffff": Case("REF-4", _rewrite(1, state_version=0xFFFFFFFF), 1),
    "index 0xffffffff": Case("REF-5", _rewrite(1, idx=0xFFFFFFFF), 1),
    "index 0xffffffff, configuration": Case(
        "REF-5", f.Rewrite(select=CONFIG, fields=Fields(idx=0xFFFFFFFF)), CONFIG_IDX
    ),
    "configuration on a queued index": Case(
        "REF-7", f.Inject(select=_at(2), fields=Fields(state_flags=1)), 2, others=(HOLD_0_LATE,)
    ),
    "configuration twice": Case(
        "REF-7", f.Duplicate(select=CONFIG), CONFIG_IDX, others=(HOLD_0_LATE,)
    ),
    "unknown idstr": Case("REF-9", _rewrite(1, idstr="nobody/vfio"), 1, names_device=False),
    "empty idstr": Case("REF-9", _rewrite(1, idstr=""), 1, names_device=False),
    "idstr of RAM": Case("REF-9", _rewrite(1, idstr="ram"), 1, names_device=False),
    "unterminated idstr": Case("REF-9", _rewrite(1, idstr="x" * 256), 1, names_device=False),
    "unterminated idstr that begins right": Case(
        "REF-9", _rewrite(1, idstr=idstr_of(0).ljust(256, "/")), 1, names_device=False
    ),
    "wrong instance id": Case("REF-9", _rewrite(1, instance_id=1), 1, names_device=False),
    "wrong magic": Case("REF-10", _rewrite(1, magic=0x11223345), 1, names_device=False),
    "wrong multifd version": Case("REF-10", _rewrite(1, version=2), 1, names_device=False),
    "flag SYNC": Case("REF-10", _rewrite(1, flags=0x41), 1, names_device=False),
    "no flags": Case("REF-10", _rewrite(1, flags=0), 1, names_device=False),
    "stated size eats the next header": Case(
        "REF-10", _rewrite(1, next_packet_size=MIB + 12 + 276), 1,
        names_device=False, settings=ONE_CHANNEL,
    ),
    "stated size leaves a rest": Case(
        "REF-10", _rewrite(1, next_packet_size=MIB), 1, names_device=False, settings=ONE_CHANNEL
    ),
}  # fmt: skip


@pytest.mark.requirement(*(f"REF-{n}" for n in (1, 2, 3, 4, 5, 7, 9, 10, 11)), "LIF-9")
@pytest.mark.parametrize("name", BAD)
async def test_bad_packet_is_refused(judged, kept, name) -> None:
    case = BAD[name]
    settings = dict(case.settings)
    prelude = (settings.pop("prelude"),) if "prelude" in settings else ()
    run = await _early(judged, *prelude, case.fault, *case.others, **settings)
    _assert_fired(run, case.fault, case.idx)
    if isinstance(case.fault, f.Duplicate):
        _assert_moment(run, case.fault, case.idx)
    names = ("REF-11",) if case.names_device else ()
    _refused(run, kept, case.requirement, *names)


def _assert_moment(run: Run, duplicate: f.Duplicate, idx: int) -> None:
    """The first of the two was loaded, or not, when the second came."""
    second = [record for record in of(run, PacketOut) if record.args.idx == idx][1]
    loaded = _traced(run, LOADED, idx=idx)
    if duplicate.until is not None:
        written = [r for r in of(run, Write) if r.args.offset + r.args.got > idx * MIB]
        assert written[0].t_ns < second.t_ns
    else:
        assert not loaded or second.t_ns < loaded[0].t_ns


NOW_WAITS = Until(delay_s=0.5)
"""By then the main channel has ended, and the main thread waits for its load threads."""


@pytest.mark.requirement("LIF-2")
async def test_configuration_that_is_cut_while_the_main_thread_waits_for_it(judged, kept) -> None:
    """Of the other packets that come then: the findings of that case."""
    late, cut = f.Hold(select=CONFIG, until=NOW_WAITS), f.CutStream(select=CONFIG, size=100)
    run = await judged(_scenario(late, cut, **HANGS))
    assert min(held(run, Faults)[0].fired) > 0
    kept(run, "LIF-2", case=WAITS)


# -- the configuration --------------------------------------------------------------------

BAD_CONFIG: dict[str, f.Fault] = {
    "wrong marker": f.Flip(select=CONFIG, offset=7, mask=1),
    "nothing": f.Truncate(select=CONFIG, size=12),
    "half a marker": f.Truncate(select=CONFIG, size=12 + 4),
    "marker only": f.Truncate(select=CONFIG, size=12 + 8),
    "cut short": f.Truncate(select=CONFIG, size=12 + 100),
}


@pytest.mark.requirement("REF-8", "REF-11", "LIF-9")
@pytest.mark.parametrize("name", BAD_CONFIG)
async def test_bad_configuration_is_refused(judged, kept, name) -> None:
    run = await judged(_scenario(BAD_CONFIG[name]))
    _assert_fired(run, BAD_CONFIG[name], CONFIG_IDX)
    _refused(run, kept, "REF-8", "REF-11")


@pytest.mark.requirement("REF-8")
async def test_configuration_with_one_byte_too_many(judged, kept) -> None:
    longer = f.Extend(select=CONFIG, size=1)
    run = await judged(_scenario(longer))
    _assert_fired(run, longer, CONFIG_IDX)
    kept(run, "REF-8", case="bytes behind the configuration")


@pytest.mark.requirement("LIF-9")
async def test_source_learns_of_a_failure_after_it_has_sent_everything(judged, kept) -> None:
    late = f.Hold(select=CONFIG, until=Until(delay_s=0.2))
    run = await judged(_scenario(late, BAD_CONFIG["wrong marker"]))
    _assert_valid(run, "REF-8", but_for=("LIF-9",))
    kept(run, "LIF-9", case=ALL_SENT)


# -- sizes --------------------------------------------------------------------------------


@pytest.mark.requirement("REF-6")
@pytest.mark.parametrize("idx", [100_000, 1_000_000])
async def test_index_beyond_the_state_is_refused_or_bounded(judged, kept, idx) -> None:
    far = f.Inject(select=_at(1), fields=Fields(idx=idx), size=16)
    run = await judged(_scenario(MAYBE_EARLY, far, memory_limit_mib=1024))
    _assert_fired(run, far, idx)
    _assert_valid(run, "RUN", "REF-6", but_for=("LIF-8",))  # 24 bytes for each index


@pytest.mark.requirement("REF-10")
async def test_unknown_flag_is_refused(judged, kept) -> None:
    bad = _rewrite(1, flags=0x42)
    run = await judged(_scenario(MAYBE_EARLY, bad))
    _assert_fired(run, bad, 1)
    kept(run, "REF-10", case="unknown flags")


HELLOS = {
    "number that is taken": (4, f.Hello(select=Select(channel=2), channel_id=0)),
    "number far too high": (4, f.Hello(select=Select(channel=3), channel_id=255)),
    "number of channels": (8, f.Hello(select=Select(channel=7), channel_id=8)),
    "wrong magic": (4, f.Hello(select=Select(channel=1), magic=0x11223345)),
    "wrong version": (4, f.Hello(select=Select(channel=1), version=2)),
    "wrong version on each": (4, f.Hello(version=2)),
    "uuid of another VM": (4, f.Hello(select=Select(channel=1), uuid=UUID(int=5))),
}


@pytest.mark.requirement("REF-10")
@pytest.mark.parametrize("name", HELLOS)
async def test_bad_hello_is_refused(judged, kept, name) -> None:
    channels, hello = HELLOS[name]
    run = await judged(_scenario(hello, channels=channels))
    channel = hello.select.channel
    changed = {record.channel for record in of(run, HelloOut)}
    assert changed <= (set(range(channels)) if channel is None else {channel})
    if channels == 8 and "REF-10" in run.verdict.with_outcome(Outcome.VIOLATED):
        # What lies behind the array's end lets a few runs through.
        kept(run, "REF-10", case="hello: number of channels")
    kept(run, "REF-10", "LIF-9")


@pytest.mark.requirement("REF-10", "LIF-1")
async def test_stated_size_beyond_the_data_never_completes(judged, kept) -> None:
    bad = _rewrite(1, next_packet_size=256 * MIB)
    run = await judged(_scenario(bad, memory_limit_mib=1024, **HANGS))
    _assert_fired(run, bad, 1)
    _assert_valid(run, "RUN", "REF-10", but_for=("LIF-1",))
    kept(run, "LIF-1", case=WAITS)


@pytest.mark.requirement("REF-3", "REF-11")
async def test_error_about_an_empty_packet_names_the_device(judged, kept) -> None:
    bad = f.Truncate(select=_at(1), size=0)
    run = await _early(judged, bad)
    _assert_fired(run, bad, 1)
    _assert_valid(run, "RUN", "REF-3", "LIF-9", but_for=("REF-11",))
    kept(run, "REF-11", case="empty device-state packet")


@pytest.fixture
def limited(qemu_facts):
    """A device with a limit of queued bytes, of builds that have it."""
    if any(LIMIT not in probe.facts.vfio_pci_properties for probe in qemu_facts):
        pytest.skip(f"this build's vfio-pci has no {LIMIT}")
    return lambda limit: (_device(properties={LIMIT: limit}),)


@pytest.mark.requirement("REF-12", "REF-11")
async def test_more_queued_bytes_than_the_limit_are_refused(judged, kept, limited) -> None:
    late = f.Hold(select=_at(0), until=Until(delay_s=1.0))
    run = await _early(judged, late, devices=limited(3 * MIB // 2))
    assert min(held(run, Faults)[0].fired) > 0
    _refused(run, kept, "REF-12", "REF-11")


@pytest.mark.requirement("REF-12")
async def test_fewer_queued_bytes_than_the_limit_have_no_effect(judged, kept, limited) -> None:
    run = await judged(_scenario(HOLD_0, devices=limited((BUFFERS + 1) * MIB)))
    kept(run, "REF-12", "ORD-1", "ORD-3")


# -- life ---------------------------------------------------------------------------------

MISSING = {
    "first": _at(0), "middle": _at(2), "last": _at(BUFFERS - 1), "configuration": CONFIG,
}  # fmt: skip


@pytest.mark.requirement("LIF-1")
async def test_missing_packet_is_waited_for(judged, kept) -> None:
    run = await judged(_scenario(f.Drop(select=_at(2)), **HANGS))
    _assert_valid(run, "RUN", but_for=("LIF-1",))
    assert _traced(run, "vfio_load_state_device_buffer_starved")[-1].args["idx"] == 2
    kept(run, "LIF-1", case=WAITS)


@pytest.mark.requirement("LIF-1")
@pytest.mark.parametrize("name", MISSING)
async def test_missing_packet_that_comes_late_completes(judged, kept, name) -> None:
    run = await judged(_scenario(f.Hold(select=MISSING[name], until=NOW_WAITS)))
    kept(run, "LIF-1", "ORD-1", "ORD-2", "ORD-3", "ORD-4", "STA-2", "STA-3")


UNIX, TCP = {"transport": Transport.UNIX}, {"transport": Transport.TCP}
TRANSPORTS = {"unix": (UNIX, False), "tcp": (TCP, False), "tcp reset": (TCP, True)}


@pytest.mark.requirement("LIF-2")
@pytest.mark.parametrize("which", [Which.MULTIFD, Which.MAIN, Which.ALL])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_channels_that_close_between_packets(judged, kept, transport, which) -> None:
    """While the source still has more state to send than all sockets hold."""
    settings, is_abrupt = TRANSPORTS[transport]
    close = f.CloseChannel(select=_at(1), which=which, is_before=True, is_abrupt=is_abrupt)
    run = await judged(_scenario(close, devices=(_device(size=32 * MIB),), **settings))
    assert {done.idx for done in held(run, Fault)} == {1}
    _refused(run, kept, "LIF-2")


@pytest.mark.requirement("LIF-2")
@pytest.mark.parametrize("transport", ["unix", "tcp reset"])
async def test_one_channel_that_closes_between_packets(judged, kept, transport) -> None:
    settings, is_abrupt = TRANSPORTS[transport]
    close = f.CloseChannel(select=_at(BUFFERS - 1), is_before=True, is_abrupt=is_abrupt)
    run = await judged(_scenario(close, **settings, **HANGS))
    _assert_fired(run, close, BUFFERS - 1)
    if is_abrupt:
        _refused(run, kept, "LIF-2")
    else:
        kept(run, "LIF-2", case="one channel ends between packets")


@pytest.mark.requirement("LIF-2")
@pytest.mark.parametrize(
    ("transport", "size"),
    [("unix", 5), ("unix", 12), ("unix", 100), ("unix", 276 + 12 + 5000),
     ("tcp", 100), ("tcp reset", 100)],
)  # fmt: skip
async def test_channel_that_closes_inside_a_packet(judged, kept, transport, size) -> None:
    settings, is_abrupt = TRANSPORTS[transport]
    cut = f.CutStream(select=_at(1), size=size, is_abrupt=is_abrupt)
    run = await _early(judged, cut, **settings)
    _assert_fired(run, cut, 1)
    _refused(run, kept, "LIF-2")
