"""SYNTHETIC histories: what a correct QEMU 10.0 would leave behind, made up record by record.

Not recorded from a QEMU: that is what ``tests/data`` is for.  Names, arguments and order
are those of real runs, so that a rule can be shown a run that keeps the requirements
(``completed``, ``refused``, ``blocked``, ``launch_refused``), and the broken twins of
``tests.twins`` have something to break.

The path that a device's state takes is told by the caller, not computed: the model must
not be compared with itself.
"""

from bisect import bisect_left, bisect_right
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from harness.check.judge import judge
from harness.check.verdict import Finding
from harness.history.builds import BuildFacts
from harness.history.device import (
    Arc,
    Config,
    DataFdError,
    PrecopyChanged,
    PrecopyInfoV2,
    Read,
    Received,
    Reinit,
    Sent,
    Write,
)
from harness.history.process import DataFds, Exited, Launched, Stderr, ZeroCopySends
from harness.history.records import Kind, Record, Side
from harness.history.rundir import History, load
from harness.scenario import (
    MIB,
    EmulatedDevice,
    Given,
    LoadBehaviour,
    MigrationState,
    OnOffAuto,
    RefusedArc,
    SaveBehaviour,
    Scenario,
    Tls,
    TlsMismatch,
    Transport,
    WrongDataFd,
)
from harness.scenario.precopy import PrecopyChange
from tests.twins.damage import change
from tests.unit.check.guests import guest_scenario, with_guest
from tests.unit.check.interrupted import interrupting, with_interrupts
from tests.unit.check.lives import LIVES, STORM, continued, holding, measured, stalled, stormy
from tests.unit.check.misreported import misreporting, with_sizes
from tests.unit.check.relayed import RELAYED, with_relay
from tests.unit.check.sampled import BANDWIDTH, INITIAL, with_samples
from tests.unit.check.secured import handshake_refused, secured
from tests.unit.check.sides import SIDES
from tests.unit.check.story import (
    CONFIG_BLOB,
    DST,
    FACTS,
    MS,
    SRC,
    START,
    US,
    Story,
    device,
    history,
    scenario,
    typed,
)
from tests.unit.check.written import LOG, WHY, log_failed, with_dma, writing

DATA = Path(__file__).parents[2] / "data"
__all__ = ["MS", "START"]  # passed on from ``story``


def changed(run: History, records: list[Record]) -> History:
    """The run with other records."""
    ordered = sorted(typed(records), key=lambda record: record.t_ns)
    manifest = msgspec.structs.replace(run.manifest, records=len(ordered))
    return History(run.scenario, manifest, ordered)


def with_manifest(run: History, **fields) -> History:
    return History(run.scenario, msgspec.structs.replace(run.manifest, **fields), run.records)


def without(run: History, *names: str, **fields) -> History:
    """The run without the records of these names; ``fields`` narrow it (side, device)."""
    return changed(run, [r for r in run.records if not matches(r, names, fields)])


def matches(record: Record, names, fields) -> bool:
    return record.name in names and all(getattr(record, k) == v for k, v in fields.items())


def only(run: History, name: str, **fields) -> list[Record[Any]]:
    return [record for record in run.records if matches(record, (name,), fields)]


def evidence_of(finding: Finding) -> list[Record[Any]]:
    """Its records, of whatever type the test knows them to be."""
    return list(finding.evidence)


def replaced(run: History, old: Record, **fields) -> History:
    new = msgspec.structs.replace(old, **fields)
    return changed(run, [new if record is old else record for record in run.records])


def with_args(run: History, old: Record, **args) -> History:
    """The run with other arguments of one record."""
    new = change(old, **args)
    return changed(run, [new if record is old else record for record in run.records])


def blocked(scenario: Scenario, reason: str) -> History:
    """``migrate`` is refused because of a device."""
    story = Story()
    story.boot(scenario)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate", error=reason)
    story.end("inmigrate")
    return history(scenario, story.records)


def launch_refused(scenario: Scenario, reason: str) -> History:
    """Neither QEMU starts."""
    story = Story()
    for side in (SRC, DST):
        story.put(side, Launched(argv=["qemu-system-x86_64"], pid=7))
        story.put(side, Stderr(line=f"qemu: -device vfio-pci,fd=9: {reason}"))
        story.put(side, Exited(status=1, signal=0, asked=False))
    return history(scenario, story.records)


def refused(scenario: Scenario, reason: str, facts: BuildFacts = FACTS) -> History:
    """The source's set-up fails with ``reason``."""
    story = Story()
    story.boot(scenario)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup", "failed")
    story.status(DST, "setup", "active", "failed")
    story.put(SRC, Stderr(line=f"qemu: {reason}"))
    story.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": reason})
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of stream failed"})
    story.end("inmigrate")
    return history(scenario, story.records, facts)


def completed(
    scenario: Scenario, *, main: tuple[str, ...] = (), facts: BuildFacts = FACTS
) -> History:
    """A migration that completes; devices of ``main`` use the main channel only."""
    story = Story()
    story.boot(scenario)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup")
    story.status(DST, "setup", "active")
    channels = scenario.channels if scenario.multifd else 0
    devices = [spec for spec in scenario.devices if isinstance(spec, EmulatedDevice)]
    for channel in range(channels):
        story.trace(SRC, "multifd_send_thread_start", id=channel, tid=150 + channel)
        story.trace(
            DST, "multifd_recv_thread_start", id=channel, tid=200 + channel, channel=channel
        )
        sync = {"id": channel, "packet_num": channel, "flags": 1, "next_packet_size": 0}
        story.trace(DST, "multifd_recv_unfill", tid=200 + channel, channel=channel, **sync)
    for spec in devices:
        most = min(MIB, spec.total_size if spec.reported_size is None else spec.reported_size)
        if spec.pre_copy:
            story.arc(SRC, spec.id, "PRE_COPY")
        story.trace(SRC, "vfio_save_setup", spec.id, data_buffer_size=most)
        story.arc(DST, spec.id, "RESUMING")
    story.status(SRC, "active")
    transferred = sum(_precopy(story, spec) for spec in devices)
    for spec in devices:
        if spec.p2p:
            story.arc(SRC, spec.id, "PRE_COPY_P2P" if spec.pre_copy else "RUNNING_P2P")
        story.arc(SRC, spec.id, "STOP_COPY" if spec.pre_copy else "STOP")
    story.status(SRC, "device")
    received = [0] * channels
    for number, spec in enumerate(devices):
        if not spec.pre_copy:
            story.arc(SRC, spec.id, "STOP_COPY")
        sizes = _sizes(spec)
        if spec.id in main:
            transferred += _over_main(story, spec, sizes)
        else:
            transferred += _over_multifd(story, scenario, spec, sizes, number, received)
    for channel in range(channels):
        count = {"id": channel, "packets": received[channel] + 1}
        story.trace(DST, "multifd_recv_thread_end", tid=200 + channel, channel=channel, **count)
    story.status(SRC, "completed")
    for spec in devices:
        if spec.p2p:
            story.arc(DST, spec.id, "RUNNING_P2P")
        story.arc(DST, spec.id, "RUNNING")
        story.arc(SRC, spec.id, "STOP")
    story.add(DST, Kind.QMP, "RESUME")
    story.status(DST, "completed")
    vfio = {"transferred": transferred}
    story.qmp(SRC, "query-migrate", {"status": "completed", "vfio": vfio})
    story.qmp(DST, "query-migrate", {"status": "completed"})
    for spec in devices:
        story.guest(DST, spec.id)
        digest = f"{spec.seed:032x}"
        size = spec.total_size
        story.put(SRC, Sent(bytes=size, digest=digest), spec.id)
        arrived = Received(
            bytes=size,
            digest=digest,
            expected_bytes=size,
            expected_digest=digest,
            first_difference=-1,
        )
        story.put(DST, arrived, spec.id)
        for side in (SRC, DST):
            story.put(side, Config(command=6, scratch="00"), spec.id)
    story.end()
    return history(scenario, story.records, facts)


def _sizes(spec: EmulatedDevice) -> list[int]:
    """Sizes of the buffers that stop-copy makes, after whole pre-copy blocks."""
    most = min(MIB, spec.total_size if spec.reported_size is None else spec.reported_size)
    left = spec.size if spec.pre_copy else spec.total_size
    sizes: list[int] = []
    limits = spec.save.read_sizes or (most,)
    while left:
        sizes.append(min(left, most, limits[len(sizes) % len(limits)]))
        left -= sizes[-1]
    return sizes


def _precopy(story: Story, spec: EmulatedDevice) -> int:
    left = spec.precopy_size
    while left:
        size = min(left, MIB)
        story.trace(SRC, "vfio_save_block", spec.id, data_size=size)
        story.trace(DST, "vfio_load_state_device_data", spec.id, data_size=size, ret=0)
        story.put(SRC, Read(offset=0, asked=MIB, got=size, errno=0), spec.id)
        left -= size
    return spec.precopy_size


def _over_main(story: Story, spec: EmulatedDevice, sizes: list[int]) -> int:
    story.trace(SRC, "vfio_save_complete_precopy_start", spec.id)
    position = 0
    for size in sizes:
        story.trace(SRC, "vfio_save_block", spec.id, data_size=size)
        story.trace(DST, "vfio_load_state_device_data", spec.id, data_size=size, ret=0)
        if spec.pre_copy:
            read = Read(offset=position, asked=MIB, got=size, errno=0)
            story.put(SRC, read, spec.id)
        position = _writes(story, spec, position, size, story.at)
    story.trace(SRC, "vfio_save_complete_precopy", spec.id, ret=0)
    story.trace(DST, "vfio_load_device_config_state_start", spec.id)
    story.trace(DST, "vfio_load_device_config_state_end", spec.id)
    return sum(sizes)


def _over_multifd(story, scenario, spec, sizes, number, received) -> int:
    """Packets come in with neighbours swapped, spread over the channels."""
    name, tid, config = spec.id, 300 + number, len(sizes)
    story.trace(SRC, "vfio_save_complete_precopy_thread_start", name, idstr="x/vfio", instance_id=0)
    story.trace(DST, "vfio_load_bufs_thread_start", name, tid=tid)
    began = story.at
    order = list(range(config + 1))
    for at in range(0, config + 1, 2):
        order[at : at + 2] = reversed(order[at : at + 2])
    arrival = {}
    for at, idx in enumerate(order):
        channel = at % scenario.channels
        received[channel] += 1
        arrival[idx] = began + (at + 1) * 50 * US
        story.trace(
            DST, "vfio_load_state_device_buffer_incoming", name, idx=idx, tid=200 + channel,
            channel=channel, t=arrival[idx],
        )  # fmt: skip
    free, position, times = began + US, 0, sorted(arrival.values())
    for idx, size in enumerate([*sizes, -1]):
        if arrival[idx] > free:
            _starve(story, name, tid, idx, free, arrival[idx], times)
        start = max(free, arrival[idx]) + US
        if size < 0:
            story.trace(DST, "vfio_load_device_config_state_start", name, tid=tid, t=start)
            story.trace(DST, "vfio_load_device_config_state_end", name, tid=tid, t=start + 9 * US)
            story.trace(DST, "vfio_load_bufs_thread_end", name, tid=tid, t=start + 10 * US)
            story.at = max(start + 10 * US, *arrival.values())
            break
        event = "vfio_load_state_device_buffer_load"
        story.trace(DST, f"{event}_start", name, idx=idx, tid=tid, t=start)
        position = _writes(story, spec, position, size, start)
        free = start + max(20 * US, int(spec.load.write_delay_s * 10**9))
        story.trace(DST, f"{event}_end", name, idx=idx, tid=tid, t=free)
        if spec.save.read_sizes or spec.pre_copy:
            read = {"offset": position - size, "asked": MIB, "got": size, "errno": 0}
            story.put(SRC, Read(**read), name, t=arrival[idx] - US)
    if spec.save.read_sizes or spec.pre_copy:
        end = {"offset": position, "asked": MIB, "got": 0, "errno": 0}
        story.put(SRC, Read(**end), name, t=arrival[config] - US)
    story.trace(SRC, "vfio_save_complete_precopy_thread_end", name, ret=1)
    return sum(sizes) + 12 * (len(sizes) + 1) + CONFIG_BLOB


def _starve(story: Story, name, tid, idx, free, until, times) -> None:
    """The load thread waits for ``idx``, woken by each other packet that comes in."""
    for t in [free, *times[bisect_right(times, free) : bisect_left(times, until)]]:
        event = "vfio_load_state_device_buffer_starved"
        story.trace(DST, event, name, idx=idx, tid=tid, t=t + US)


def _writes(story: Story, spec: EmulatedDevice, position: int, size: int, t: int) -> int:
    """The device's own records of the writes of one buffer, where writes are cut short."""
    limits, left = spec.load.write_sizes, size
    while limits and left:
        got = min(left, limits[0])
        write = {"offset": position, "asked": left, "got": got, "errno": 0}
        story.put(DST, Write(**write), spec.id, t=t)
        position, left = position + got, left - got
    return position if limits else position + size


UNSUPPORTED = "VFIO_FD9: Multifd device transfer requested but unsupported in the current config"
DISABLED = "VFIO_FD9: Migration is disabled for VFIO device"
NOT_IN_KERNEL = "VFIO_FD9: VFIO migration is not supported in kernel"
OLD = msgspec.structs.replace(FACTS, machine="pc-q35-9.2")
NEW = msgspec.structs.replace(FACTS, version=(11, 1, 3), version_text="11.1.3 Debian")
NEWEST = msgspec.structs.replace(NEW, machine="pc-q35-11.1")
AUTO, OFF = OnOffAuto.AUTO, OnOffAuto.OFF
AFTER_ITER = {"x-migration-load-config-after-iter": "on"}
ZLIB = {"multifd-compression": "zlib"}


def failed_by_log(why: str = WHY, **fields) -> History:
    """The source's device fails to start its log, and so the migration fails."""
    story, spec = Story(), writing(start_errno=5)
    run = scenario(spec, **fields)
    story.boot(run)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup", "active")
    story.status(DST, "setup", "active")
    story.arc(DST, spec.id, "RESUMING")
    story.status(SRC, "failed")
    story.status(DST, "failed")
    reason = {"status": "failed", "error-desc": why}
    story.qmp(SRC, "query-migrate", reason)
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of stream failed"})
    story.end("inmigrate")
    log = msgspec.structs.replace(LOG, errno=5)
    return log_failed(history(run, story.records), log=log, why=why)


def to_be_sampled() -> History:
    """Of a device with pre-copy; ``with_samples`` asks about it."""
    device_of = device(pre_copy=True, precopy_initial_bytes=INITIAL)
    return completed(scenario(device_of, parameters={"avail-switchover-bandwidth": BANDWIDTH}))


ARC_REFUSED = "VFIO_FD9: Failed setting device state to STOP_COPY. Setting device in recover state"


REFUSES = (RefusedArc(side="source", to=MigrationState.STOP_COPY),)


def failed_by_arc(why: str = ARC_REFUSED, **fields) -> History:
    """The source's device refuses STOP_COPY, is set to STOP, and so the migration fails."""
    story, spec = Story(), device(size=1000, refuses=REFUSES)
    run = scenario(spec, **fields)
    story.boot(run)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup", "active")
    story.status(DST, "setup", "active")
    story.arc(DST, spec.id, "RESUMING")
    args = {"name": "VFIO_FD9"}
    story.add(SRC, Kind.TRACE, "vfio_migration_set_state", spec.id, tid=100, **args)
    story.arc(SRC, spec.id, "RUNNING_P2P")
    story.arc(SRC, spec.id, "STOP")
    story.put(SRC, Arc(state="STOP_COPY", path=[], errno=5), spec.id)
    story.put(SRC, Arc(state="STOP", path=[], errno=0), spec.id)
    story.status(SRC, "failed")
    story.status(DST, "failed")
    story.arc(SRC, spec.id, "RUNNING")
    story.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": why})
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of stream failed"})
    story.end("inmigrate")
    return history(run, story.records)


def asked(answer: int, side: Side) -> Record:
    return Record.of(START + US, side, PrecopyInfoV2(errno=answer), "vfio0")


def with_info_v2(answer: int) -> History:
    """Both sides have asked for MIG_PRECOPY_INFOv2."""
    spec = device(pre_copy=True, precopy_initial_bytes=3 * MIB, precopy_info_v2=answer)
    run = completed(scenario(spec), facts=NEW)
    init = {"name": "VFIO_FD9", "mig_flags": 7, "precopy_info_v2_used": int(not answer)}
    records = list(run.records)
    for side in (SRC, DST):
        used = Record(
            t_ns=START + 2 * US, side=side, kind=Kind.TRACE, name="vfio_migration_init",
            args=init, device="vfio0", tid=100,
        )  # fmt: skip
        records += [asked(answer, side), used]
    return changed(run, records)


AGAIN = PrecopyChange(at=1000, initial_bytes=MIB)
LATE = PrecopyChange(at_check=True, initial_bytes=MIB)
ACK = {"switchover-ack": True}
SWITCHOVER_ACK = "Switchover ACK was requested by 1 devices during switchover"


def informed(change: PrecopyChange, t_ns: int, position: int) -> list[Record[Any]]:
    """The source's device has new initial bytes, and QEMU asks for them."""
    new = change.initial_bytes or 0
    changed = PrecopyChanged(0, position, new, 0, is_reinit=True)
    told = Reinit(position=position, initial_bytes=new)
    return [Record.of(t_ns, SRC, changed, "vfio0"), Record.of(t_ns + US, SRC, told, "vfio0")]


def reinit() -> History:
    """2 MiB in pre-copy, of which 1 MiB are new initial bytes, behind the first one."""
    spec = device(
        pre_copy=True,
        precopy_initial_bytes=2 * MIB,
        precopy_info_v2=0,
        precopy_changes=(AGAIN,),
    )
    run = completed(scenario(spec, capabilities=ACK), facts=NEWEST)
    loads = only(run, "vfio_load_state_device_data", side=DST)
    stop = Record(t_ns=loads[1].t_ns + US, side=SRC, kind=Kind.QMP, name="STOP", args={})
    return changed(run, [*run.records, stop, *informed(AGAIN, loads[0].t_ns + US, MIB)])


def reinit_late() -> History:
    """The source has decided the switchover, and fails for it."""
    story = Story()
    spec = device(
        pre_copy=True, precopy_initial_bytes=MIB, precopy_info_v2=0, precopy_changes=(LATE,)
    )
    run = scenario(spec, capabilities=ACK)
    story.boot(run)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup", "active")
    story.status(DST, "setup", "active")
    story.arc(SRC, spec.id, "PRE_COPY")
    story.arc(DST, spec.id, "RESUMING")
    _precopy(story, spec)
    for record in informed(LATE, story.at, MIB):
        story.put(SRC, record.args, spec.id)
    story.arc(SRC, spec.id, "STOP_COPY")
    story.status(SRC, "failed")
    story.status(DST, "failed")
    story.arc(SRC, spec.id, "RUNNING")
    story.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": SWITCHOVER_ACK})
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of stream failed"})
    story.end("inmigrate")
    return history(run, story.records, NEWEST)


def info_v2_failed() -> History:
    """Neither QEMU starts."""
    spec = device(pre_copy=True, precopy_info_v2=5)
    why = "VFIO_FD9: VFIO migration init failed: failed to set precopy info v2: Input/output error"
    run = with_manifest(launch_refused(scenario(spec), why), source=NEW, destination=NEW)
    return changed(run, [*run.records, *(asked(5, side) for side in (SRC, DST))])


NO_DATA_FD = "vfio0: reading state buffer 0 failed: 9"
DATA_FDS = (WrongDataFd(side="source", to=MigrationState.STOP_COPY, gives=Given.NONE),)


def failed_by_data_fd(why: str = NO_DATA_FD, left: int | None = 0, **fields) -> History:
    """The source's device gives no data_fd for STOP_COPY, and so the migration fails.

    :param left: data_fds that the source has open afterwards; None if they were not counted
    """
    story, spec = Story(), device(size=1000, data_fds=DATA_FDS)
    run = scenario(spec, **fields)
    story.boot(run)
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup", "active")
    story.status(DST, "setup", "active")
    story.arc(DST, spec.id, "RESUMING")
    args = {"name": "VFIO_FD9"}
    story.add(SRC, Kind.TRACE, "vfio_migration_set_state", spec.id, tid=100, **args)
    for state in ("RUNNING_P2P", "STOP", "STOP_COPY"):
        story.arc(SRC, spec.id, state)
    story.put(SRC, DataFdError(state="STOP_COPY", gives="none"), spec.id)
    story.status(SRC, "failed")
    story.status(DST, "failed")
    story.arc(SRC, spec.id, "RUNNING")
    story.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": why})
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of stream failed"})
    if left is not None:
        story.put(SRC, DataFds(left))
    story.put(DST, DataFds(0))
    story.end("inmigrate")
    return history(run, story.records)


def with_sends(run: History, count: int) -> History:
    """The source has sent so often with MSG_ZEROCOPY, of 16 pages."""
    ended = only(run, "exited", side=SRC)[-1]
    sends = Record.of(ended.t_ns, Side.SOURCE, ZeroCopySends(count, min(count, 4)))
    for answer in only(run, "return", side=SRC):
        if answer.args["command"] == "query-migrate":
            value = {**answer.args["value"], "ram": {"normal": 16}}
            run = with_args(run, answer, value=value)
    return changed(run, [*run.records, sends])


def two_devices() -> tuple[EmulatedDevice, ...]:
    return device(size=20 * MIB + 3), device("vfio1", seed=2)


def to_misreport() -> History:
    return completed(scenario(misreporting()))


GOOD = {
    "multifd": lambda: completed(scenario(*two_devices())),
    "slow": lambda: completed(
        scenario(device(size=32 * MIB, load=LoadBehaviour(write_delay_s=0.3)))
    ),
    "short writes": lambda: completed(scenario(device(load=LoadBehaviour(write_sizes=(300_000,))))),
    "refused": lambda: refused(scenario(multifd=False), UNSUPPORTED),
    "compression": lambda: completed(
        scenario(device(multifd_transfer=AUTO), parameters=ZLIB), main=("vfio0",)
    ),
    "old machine": lambda: completed(
        scenario(device(multifd_transfer=None), machine="pc-q35-9.2"), main=("vfio0",), facts=OLD
    ),
    "two versions": lambda: with_manifest(completed(scenario(*two_devices())), destination=NEW),
    "blocked": lambda: blocked(scenario(device(enable_migration=OFF)), DISABLED),
    "zero copy": lambda: with_sends(
        completed(scenario(capabilities={"zero-copy-send": True}, transport=Transport.TCP)),
        4,
    ),
    "sampled": lambda: changed(to_be_sampled(), with_samples(to_be_sampled())),
    "cpr": lambda: blocked(
        scenario(parameters={"mode": "cpr-transfer"}), "missing 'cpr' migration channel"
    ),
    "launch refused": lambda: launch_refused(scenario(device(stop_copy=False)), NOT_IN_KERNEL),
    # No twin is shown on these:
    "no data": lambda: completed(scenario(device(size=0, reported_size=4096))),
    "pre-copy": lambda: completed(scenario(device(pre_copy=True, precopy_initial_bytes=3 * MIB))),
    "pre-copy, main channel": lambda: completed(
        scenario(device(pre_copy=True, precopy_dirty_bytes=3 * MIB, multifd_transfer=OFF)),
        main=("vfio0",),
    ),
    "short reads": lambda: completed(
        scenario(device(save=SaveBehaviour(read_sizes=(70_000, 1, 9_999))))
    ),
    "no p2p": lambda: completed(scenario(device(p2p=False))),
    "one channel": lambda: completed(scenario(channels=1)),
    "relayed": lambda: with_relay(completed(scenario(*two_devices()))),
    **RELAYED,
    **LIVES,
    "storm": lambda: stormy(completed(scenario(actions=(STORM,)))),
    "second migration": lambda: continued(completed(scenario(*two_devices())), "completed"),
    "second after a cancel": lambda: holding(
        continued(completed(scenario(*two_devices())), "cancelled")
    ),
    "measured": lambda: measured(completed(scenario(device(size=64 * MIB))), 4_000),
    "after iter": lambda: stalled(completed(scenario(device(properties=AFTER_ITER))), waits=True),
    "no return path": lambda: completed(scenario(return_path=False)),
    "kernel's devices": lambda: load(DATA / "good" / "mdev"),
    "tls": lambda: secured(completed(scenario(*two_devices(), tls=Tls.X509))),
    "tls refused": lambda: handshake_refused(scenario(tls=Tls.PSK, tls_mismatch=TlsMismatch.KEY)),
    "dma": lambda: with_dma(completed(scenario(writing(), writing("vfio1", at=8 * MIB)))),
    "dma without a log": lambda: with_dma(completed(scenario(writing())), log=None),
    "dma, a log fails": failed_by_log,
    "arc refused": failed_by_arc,
    "precopy info v2": lambda: with_info_v2(0),
    "no precopy info v2": lambda: with_info_v2(25),
    "precopy info v2 fails": info_v2_failed,
    "initial bytes again": reinit,
    "initial bytes too late": reinit_late,
    "sizes": lambda: changed(to_misreport(), with_sizes(to_misreport())),
    "interrupts": lambda: with_interrupts(completed(scenario(interrupting()))),
    "masked interrupts": lambda: with_interrupts(completed(scenario(interrupting(masked=True)))),
    "no data_fd": failed_by_data_fd,
    **SIDES,
    "guest": lambda: with_guest(completed(guest_scenario(*two_devices()))),
}
"""Runs that keep the requirements. A twin names the one that it damages."""


@cache
def good(name: str) -> History:
    """One of them, made once."""
    return GOOD[name]()


def find(run: History, requirement: str) -> Finding:
    """What the verdict says about one requirement, which must have been asked."""
    finding = judge(run).finding(requirement)
    assert finding is not None, f"{requirement} was not asked"
    return finding
