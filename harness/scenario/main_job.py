"""The **main job**: what ``vfio-multifd run`` runs when it is given no scenario.

A series of small scenarios that together cover every requirement that applies to the QEMU version,
in cases in which QEMU is not known to break it.  Each scenario's comment gives its purpose.
"""

from errno import EIO, ENOMEM

from harness.scenario import (
    MIB,
    DataPath,
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
from harness.scenario.action_plan import Execute, Kill, Storm, Target, When, status
from harness.scenario.dma import Dma
from harness.scenario.fault_plan import (
    CutStream,
    Duplicate,
    Fault,
    Fields,
    Flip,
    Hold,
    Inject,
    MoveToChannel,
    Order,
    Rechunk,
    Refusal,
    RefuseConnection,
    Reorder,
    Rewrite,
    Select,
    StallMain,
    Truncate,
    Until,
)
from harness.scenario.interrupts import At, Fire, Interrupts
from harness.scenario.misreports import Misreport, Query
from harness.scenario.precopy import PrecopyChange

_SMALL = 2 * MIB + 17
"""Three data packets, the last one odd."""


def _device(number: int = 0, **fields: object) -> EmulatedDevice:
    return EmulatedDevice(**{"id": f"vfio{number}", "seed": number + 1, **fields})  # type: ignore[arg-type]


def _sized(name: str, size: int) -> Scenario:
    # No state at all would make QEMU ask for a buffer of no bytes: the device reports one.
    reported = None if size else MIB
    return Scenario(name=name, devices=(_device(size=size, reported_size=reported),))


def _packets(number: int = 0, **fields: object) -> EmulatedDevice:
    """Four buffers, far enough apart for a fault to come between; loads are seen one by one."""
    defaults: dict[str, object] = {
        "size": 4 * MIB,
        "data_path": DataPath.SUPERVISED,
        "save": SaveBehaviour(read_delay_s=0.03),
    }
    return _device(number, **{**defaults, **fields})


# A refusal comes while the main channel still has something to say, and the source to send;
# later, today's QEMU waits forever for what its load threads no longer get.
_EARLY = StallMain(since="ram_passed", until=Until(told="channel_ended", delay_s=1.5))
_HOLD_0 = Hold(select=Select(idx=(0,)), until=Until(others=True))
_HOLD_0_LATE = Hold(select=Select(idx=(0,)), until=Until(delay_s=0.4))
"""Nothing is loaded before a configuration has come: QEMU 10.0's assertion about one on an index
that is loaded is a known deviation of its own.
"""


def _bad(name: str, *faults: Fault, **fields: object) -> Scenario:
    """Something that must be refused."""
    defaults: dict[str, object] = {"devices": (_packets(),)}
    return Scenario(name=name, faults=(*faults, _EARLY), **{**defaults, **fields})  # type: ignore[arg-type]


def _second(**fields: int | str) -> Rewrite:
    return Rewrite(select=Select(idx=(1,), device="vfio0"), fields=Fields(**fields))  # type: ignore[arg-type]


STAYS_ACTIVE = {
    "downtime-limit": 1,
    "avail-switchover-bandwidth": 1000,
    "max-bandwidth": 1 << 20,
}
"""Parameters with which a source stays in pre-copy: a byte is the most that may be left.

A device without PRE_COPY counts only where QEMU asks for exact sizes: not while its limit is 0,
which it is for the first 100 ms (migration_iteration_run(), migration_update_counters() in
migration/migration.c).  So RAM goes slowly enough to last longer.
"""
GOES_ON = {
    "downtime-limit": 2_000_000,
    "avail-switchover-bandwidth": 1 << 50,
    "max-bandwidth": 1 << 50,
}
"""Parameters with which such a source goes on."""
_ACTIVE = status(Target.SOURCE, "active")
_PLAIN = (_device(size=_SMALL),)


_OVER_MAIN = (_device(size=_SMALL, multifd_transfer=OnOffAuto.OFF),)
SCENARIOS: tuple[Scenario, ...] = (
    # Two index spaces at once, many packets on several channels: the plain case.
    Scenario(name="two-devices", devices=(_device(0), _device(1))),
    # Sizes at which the number of packets changes.
    _sized("no-data", 0),
    _sized("one-byte", 1),
    _sized("one-buffer", MIB),
    _sized("one-byte-more", MIB + 1),
    # The load thread is busy while packets come in, and is given part of each write.
    Scenario(
        name="slow-destination",
        devices=(
            _device(
                size=8 * MIB,
                load=LoadBehaviour(write_sizes=(300_000, 65_536), write_delay_s=0.002),
            ),
        ),
    ),
    # More and smaller packets than the size foretells.
    Scenario(
        name="short-reads",
        devices=(_device(size=4 * MIB, save=SaveBehaviour(read_sizes=(100_000, 1, 300_001))),),
    ),
    # Part of the state goes ahead, on the main channel, while the source runs.
    Scenario(
        name="pre-copy",
        devices=(
            _device(
                size=4 * MIB,
                pre_copy=True,
                precopy_initial_bytes=MIB,
                precopy_dirty_bytes=2 * MIB,
                precopy_info_v2=0,
            ),
        ),
    ),
    # A device that fails to report its sizes once.  Its reads are slow, so that QEMU asks for them:
    # it does not in the first 100 ms (a known deviation).
    Scenario(
        name="sizes-fail",
        devices=(
            _device(
                size=1000,
                pre_copy=True,
                precopy_initial_bytes=4 * MIB,
                save=SaveBehaviour(read_delay_s=0.05),
                misreports=(
                    Misreport(query=Query.DATA_SIZE, first=2, calls=1, errno=EIO),
                    Misreport(query=Query.PRECOPY_INFO, first=2, calls=1, errno=EIO),
                ),
            ),
        ),
    ),
    # More of it, which must be there before the source stops.
    Scenario(
        name="pre-copy-again",
        devices=(
            _device(
                size=_SMALL,
                pre_copy=True,
                precopy_initial_bytes=MIB,
                precopy_dirty_bytes=MIB,
                precopy_info_v2=0,
                precopy_changes=(PrecopyChange(at=1000, initial_bytes=MIB),),
            ),
        ),
        capabilities={"switchover-ack": True},
    ),
    # A device that writes to the guest's RAM, up to its stop, and logs that.
    Scenario(name="dma", devices=(_device(size=_SMALL, dma=Dma(pages=8, stride=65)),)),
    Scenario(
        name="log-refused", devices=(_device(size=_SMALL, dma=Dma(pages=1, start_errno=ENOMEM)),)
    ),
    # Interrupts that are fired before the migration, and as the device runs at the destination.
    Scenario(
        name="interrupts",
        devices=(
            _device(
                size=_SMALL,
                interrupts=Interrupts(
                    vectors=3, fires=(Fire(at=At.BEFORE), Fire(at=At.RUNNING, vector=2))
                ),
            ),
        ),
    ),
    # A limit that is never reached: the source stays in pre-copy, and is called off.
    Scenario(name="does-not-converge", devices=_PLAIN, parameters=STAYS_ACTIVE, deadline_s=1.5),
    # Fewest and many channels; many devices.
    Scenario(name="one-channel", channels=1, devices=(_device(size=_SMALL),)),
    Scenario(
        name="eight-devices",
        channels=16,
        devices=tuple(_device(number, size=_SMALL) for number in range(8)),
    ),
    # The transfer switched off, not supported, refused: the main channel, or a reason.
    Scenario(name="off", devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.OFF),)),
    Scenario(
        name="auto-without-multifd",
        multifd=False,
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.AUTO),),
    ),
    Scenario(name="on-without-multifd", multifd=False, devices=(_device(size=_SMALL),)),
    Scenario(
        name="compression-auto",
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.AUTO),),
        parameters={"multifd-compression": "zlib"},
    ),
    Scenario(
        name="compression-on",
        devices=(_device(size=_SMALL),),
        parameters={"multifd-compression": "zlib"},
    ),
    Scenario(
        name="mapped-ram",
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.AUTO),),
        capabilities={"mapped-ram": True},
        return_path=False,
        transport=Transport.FILE,
    ),
    Scenario(
        name="machine-9.2",
        machine="pc-q35-9.2",
        devices=(_device(size=_SMALL, multifd_transfer=None),),
    ),
    # What VFIO does not support is refused before anything is sent.
    Scenario(name="cpr-transfer", devices=_PLAIN, parameters={"mode": "cpr-transfer"}),
    # TLS on all channels, as the relay and both QEMUs show; and what it must refuse.  Over TCP:
    # a unix socket shows a known deviation of 10.0.
    Scenario(name="tls-x509", devices=_PLAIN, tls=Tls.X509, transport=Transport.TCP, relay=True),
    Scenario(name="tls-psk", devices=_PLAIN, tls=Tls.PSK, transport=Transport.TCP, channels=8),
    Scenario(name="tls-wrong-key", devices=_PLAIN, tls=Tls.PSK, tls_mismatch=TlsMismatch.KEY),
    Scenario(
        name="tls-unknown-client", devices=_PLAIN, tls=Tls.X509, tls_mismatch=TlsMismatch.CLIENT
    ),
    # A device that cannot migrate, by itself or behind a vIOMMU: migrate is refused; with
    # enable-migration=on, QEMU is.
    Scenario(
        name="blocked",
        devices=(_device(size=_SMALL, stop_copy=False, enable_migration=OnOffAuto.AUTO),),
    ),
    Scenario(
        name="viommu",
        qemu_args=("-device", "intel-iommu,caching-mode=on"),
        devices=(_device(size=_SMALL, enable_migration=OnOffAuto.AUTO),),
    ),
    Scenario(name="refused-at-start", devices=(_device(size=_SMALL, stop_copy=False),)),
    # On the wire: any order, any cut, and changed bytes that QEMU cannot notice.
    Scenario(
        name="reversed",
        devices=(_device(),),
        faults=(MoveToChannel(), Reorder(order=Order.REVERSED)),
    ),
    Scenario(
        name="rechunked",
        devices=(_device(size=4 * MIB),),
        faults=(Rechunk(size=100_000), Reorder(order=Order.SHUFFLED)),
    ),
    Scenario(
        name="changed-byte", devices=_PLAIN, faults=(Flip(select=Select(idx=(1,)), offset=7),)
    ),
    Scenario(
        name="late-packet",
        devices=(_packets(),),
        faults=(Hold(select=Select(idx=(1,)), until=Until(others=True)),),
    ),
    # What must be refused.
    _bad("duplicate", Duplicate(select=Select(idx=(2,))), _HOLD_0),
    _bad(
        "no-transfer",
        _second(idstr="0000:00:03.0/vfio"),
        devices=(_packets(), _packets(1, size=MIB, multifd_transfer=OnOffAuto.OFF)),
    ),
    _bad("short-packet", Truncate(select=Select(idx=(1,)), size=11)),
    _bad("state-version", _second(state_version=1)),
    _bad("invalid-index", _second(idx=0xFFFFFFFF)),
    Scenario(
        name="far-index",
        devices=(_packets(),),
        faults=(Inject(select=Select(idx=(1,)), fields=Fields(idx=100_000)),),
    ),
    _bad(
        "config-too-early",
        Inject(select=Select(idx=(2,)), fields=Fields(state_flags=1)),
        _HOLD_0_LATE,
    ),
    # Noticed when all has been sent: a source that gets no answer completes before.
    Scenario(
        name="config-marker",
        devices=(_packets(),),
        return_path=False,
        faults=(Flip(select=Select(config=True)),),
    ),
    _bad("unknown-device", _second(idstr="nobody/vfio")),
    _bad("channel-magic", _second(magic=1)),
    _bad("cut-channel", CutStream(select=Select(idx=(1,)), size=1000)),
    # The source cannot connect.
    Scenario(
        name="connection-refused",
        devices=_PLAIN,
        faults=(RefuseConnection(how=Refusal.NOT_LISTENING),),
    ),
    # The destination is given something else.
    Scenario(
        name="other-machine", devices=_OVER_MAIN, multifd=False, destination={"machine": "pc"}
    ),
    Scenario(
        name="other-device",
        devices=_OVER_MAIN,
        multifd=False,
        destination={"devices": [{"id": "vfio0", "device_id": 0x1111}]},
    ),
    # Life: killed, cancelled, failed, stormed at, and forth and back.
    Scenario(
        name="killed-destination",
        devices=_PLAIN,
        parameters=STAYS_ACTIVE,
        actions=(Kill(when=_ACTIVE, target=Target.DESTINATION),),
        then=(Scenario(name="after-kill", devices=_PLAIN),),
    ),
    Scenario(
        name="cancelled",
        devices=_PLAIN,
        parameters=STAYS_ACTIVE,
        actions=(Execute(when=_ACTIVE, target=Target.SOURCE, command="migrate_cancel"),),
        then=(Scenario(name="after-cancel", devices=_PLAIN),),
    ),
    # At its start: a load thread that begins while the destination fails is a known deviation of
    # its own.
    Scenario(
        name="arc-refused",
        devices=(
            EmulatedDevice(
                id="vfio0",
                size=1000,
                pre_copy=True,
                refuses=(RefusedArc(side="source", to=MigrationState.PRE_COPY),),
            ),
        ),
    ),
    # Over the main channel, for the same reason.
    Scenario(
        name="data-fd-extra",
        devices=(
            EmulatedDevice(
                id="vfio0",
                size=1000,
                multifd_transfer=OnOffAuto.OFF,
                data_fds=(WrongDataFd(side="source", to=MigrationState.STOP, gives=Given.EXTRA),),
            ),
        ),
    ),
    Scenario(
        name="guest-reset",
        devices=_PLAIN,
        parameters=STAYS_ACTIVE,
        actions=(
            Execute(when=_ACTIVE, target=Target.SOURCE, command="system_reset"),
            Execute(
                when=When(name="RESET", side="source"),
                target=Target.SOURCE,
                command="migrate-set-parameters",
                arguments=GOES_ON,
            ),
        ),
    ),
    Scenario(
        name="unplug-refused",
        machine="pc",  # it has a bus that devices are unplugged from
        devices=_PLAIN,
        parameters=STAYS_ACTIVE,
        actions=(
            Execute(
                when=_ACTIVE,
                target=Target.SOURCE,
                command="device_del",
                arguments={"id": "vfio0"},
                refused_with="not allowed while migrating",
            ),
            Execute(
                when=When(
                    kind="session", name="action_ended", side="harness", args={"position": 0}
                ),
                target=Target.SOURCE,
                command="migrate_cancel",
            ),
            Execute(
                when=_ACTIVE,
                target=Target.SOURCE,
                command="migrate-pause",
                refused_with="only supported during postcopy",
            ),
        ),
    ),
    Scenario(
        name="quits",
        devices=_PLAIN,
        parameters=STAYS_ACTIVE,
        actions=(Execute(when=_ACTIVE, target=Target.SOURCE, command="quit"),),
    ),
    Scenario(
        name="paused",
        devices=_PLAIN,
        parameters=STAYS_ACTIVE,
        actions=(
            Execute(when=_ACTIVE, target=Target.SOURCE, command="stop"),
            Execute(
                when=When(name="STOP", side="source"),
                target=Target.SOURCE,
                command="migrate-set-parameters",
                arguments=GOES_ON,
            ),
        ),
    ),
    Scenario(name="read-error", devices=(_device(save=SaveBehaviour(error_at=MIB + 5)),)),
    Scenario(
        name="storm",
        devices=(_device(load=LoadBehaviour(write_delay_s=0.01)),),
        actions=(Storm(when=status(Target.DESTINATION, "active"), target=Target.DESTINATION),),
    ),
    Scenario(name="forth", devices=_PLAIN, then=(Scenario(name="back", devices=_PLAIN),)),
)

FROM_10_1: tuple[Scenario, ...] = (
    # More bytes are queued than the device's property allows: 1 MiB waits, 1 MiB comes.
    _bad(
        "queue-limit",
        Hold(select=Select(idx=(0,)), until=Until(delay_s=1.0)),
        devices=(_packets(properties={"x-migration-max-queued-buffers-size": 3 * MIB // 2}),),
    ),
    # The configuration waits for the state on the main channel, which is blocked until then.
    Scenario(
        name="config-after-iter",
        devices=(_device(size=24 * MIB, properties={"x-migration-load-config-after-iter": "on"}),),
        faults=(StallMain(until=Until(delay_s=0.5)),),
    ),
)
"""About properties that QEMU has from 10.1 on."""

TURNED: tuple[Scenario, ...] = (
    Scenario(name="turned-two-devices", devices=(_device(0), _device(1))),
    Scenario(
        name="turned-main-channel",
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.OFF),),
    ),
)
"""Where the two builds are of different versions: from the destination's to the source's,
as all others go the other way."""


def scenarios(version: tuple[int, int, int]) -> tuple[Scenario, ...]:
    """The main job for builds of ``version``, the older one's where they differ."""
    return SCENARIOS + (FROM_10_1 if version >= (10, 1, 0) else ())
